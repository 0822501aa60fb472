# Copies for the product: parts of a matrix laid down in the order in which the micro-kernel reads them, and back.
cdef extern from "transpose.h":
    void vtranspose(vf *x) noexcept nogil
    void vload_turned(vf *x, const real *p, int64_t row) noexcept nogil
    void vload_turned_lane(vf *x, const real *p, int64_t row) noexcept nogil
    void vload_turned_low(vf *x, const real *p, int64_t row) noexcept nogil
    void vload_turned_part(vf *x, const real *p, int64_t row, int64_t rows) noexcept nogil
    void transpose_square(real *to, int64_t to_row, const real *x, int64_t x_row) noexcept nogil
    void transpose_part(real *to, int64_t to_row, const real *x, int64_t x_row, int64_t rows,
                        int64_t columns) noexcept nogil


cdef void copy_rows(real *to, int64_t to_row, const real *x, int64_t x_row, int64_t rows,
                    int64_t columns) noexcept nogil:
    """to[i, j] = x[i, j], both contiguous along j."""
    cdef int64_t i, j
    for i in range(rows):
        j = 0
        while j + VL <= columns:
            vstore(to + j, vload(x + j))
            j += VL
        if j < columns:
            vstore_part(to + j, vload_part(x + j, columns - j), columns - j)
        to += to_row
        x += x_row


cdef void copy_steps(real *to, const real *x, int64_t x_column, int64_t steps, int64_t rows,
                     int64_t readable) noexcept nogil:
    """Some rows of each step, side by side in x, to places BAND_STEP apart: whole vectors, for which there is room in
    `to`, and in x if so many rows are `readable` as to fill them. (Part of a vector, which the last band may have left,
    takes many times as long.)"""
    cdef int64_t step
    if readable >= VL and rows <= VL:
        for step in range(steps):
            vstore(to + step * BAND_STEP, vload(x + step * x_column))
    elif readable >= BAND_STEP and BAND_STEP == 2 * VL:
        for step in range(steps):
            vstore(to + step * BAND_STEP, vload(x + step * x_column))
            vstore(to + step * BAND_STEP + VL, vload(x + step * x_column + VL))
    else:
        copy_rows(to, BAND_STEP, x, x_column, steps, rows)


cdef void copy_columns(real *to, int64_t to_row, const real *x, int64_t x_column, int64_t rows,
                       int64_t columns) noexcept nogil:
    """to[i, j] = x[i, j], where `to` is contiguous along j and x along i."""
    cdef int64_t i = 0, j
    while i < rows:
        j = 0
        while j < columns:
            if rows - i >= VL and columns - j >= VL:
                transpose_square(to + j, to_row, x + j * x_column, x_column)
            else:
                transpose_part(to + j, to_row, x + j * x_column, x_column, min(rows - i, <int64_t> VL),
                               min(columns - j, <int64_t> VL))
            j += VL
        to += VL * to_row
        x += VL
        i += VL


cdef void copy_spread(real *to, const real *x, int64_t x_row, int64_t x_column, int64_t rows,
                      int64_t columns) noexcept nogil:
    """x[i, j], column after column, VL times each."""
    cdef int64_t i, j
    for j in range(columns):
        for i in range(rows):
            vstore(to, vsplat(x[i * x_row]))
            to += VL
        x += x_column


cdef void repeat_columns(real *to, int64_t to_row, const real *x, int64_t x_row, int64_t rows,
                         int64_t columns) noexcept nogil:
    """to[i, j] = x[i], contiguous along j."""
    cdef int64_t i, j
    for i in range(rows):
        j = 0
        while j < columns:
            store_up_to(to + i * to_row + j, vsplat(x[i * x_row]), columns - j)
            j += VL


cdef inline bint fills_squares(int64_t rows, int64_t columns) noexcept nogil:
    """Whether turning in squares pays; else their numbers are sooner copied one by one."""
    return rows > FEW and columns > FEW


cdef void read_block(real *to, int64_t to_row, const real *x, int64_t x_row, int64_t x_column, int64_t rows,
                     int64_t columns) noexcept nogil:
    """to[i, j] = x[i, j], where `to` is contiguous along j and x anything."""
    cdef int64_t i, j
    if x_column == 1:
        copy_rows(to, to_row, x, x_row, rows, columns)
    elif x_column == 0:
        repeat_columns(to, to_row, x, x_row, rows, columns)
    elif x_row == 1 and fills_squares(rows, columns):
        copy_columns(to, to_row, x, x_column, rows, columns)
    else:
        for i in range(rows):
            for j in range(columns):
                to[i * to_row + j] = x[i * x_row + j * x_column]


cdef void write_block(real *to, int64_t to_row, int64_t to_column, const real *x, int64_t x_row, int64_t rows,
                      int64_t columns) noexcept nogil:
    """to[i, j] = x[i, j], where x is contiguous along j and `to` anything."""
    cdef int64_t i, j
    if to_row == 1 and fills_squares(rows, columns):
        copy_columns(to, to_column, x, x_row, columns, rows)
    else:
        for i in range(rows):
            for j in range(columns):
                to[i * to_row + j * to_column] = x[i * x_row + j]


cdef inline int64_t spaced(int64_t reals) noexcept nogil:
    """How far apart runs of so many numbers lie: a little farther if they would share sets."""
    return reals + (SLIVER_PADDING if shares_sets(reals) else 0)


cdef inline int64_t sliver_stride(int64_t rows) noexcept nogil:
    """How far it is from one sliver, NR columns of so many rows, to the next."""
    return spaced(rows * NR)


cdef inline void copy_sliver(real *to, const real *x, int64_t x_row, int64_t rows) noexcept nogil:
    """Some rows of a whole sliver, contiguous on either side."""
    cdef int64_t row
    cdef int v
    for row in range(rows):
        for v in range(NV):
            vstore(to + v * VL, vload(x + v * VL))
        to += NR
        x += x_row


cdef void read_slivers(real *to, const real *x, int64_t x_row, int64_t x_column, int64_t rows,
                       int64_t columns) noexcept nogil:
    """A matrix as slivers of NR columns, one after the other; what lies beyond the last column stays undefined.

    It is read along its rows, some at a time, since processors fetch long runs of memory before they are asked for;
    with AVX-512, whole rows of a wide block are asked for all the same, which begins them sooner.
    """
    cdef int64_t i = 0, j, n = packed_rows if x_column == 1 else rows, ahead = n if asks_for_rows else 0, row
    cdef const real *source
    cdef real *sliver
    while i < rows:
        n = min(n, rows - i)
        j = 0
        while j < columns:
            for row in range(i + n, min(i + n + ahead, rows)):
                vprefetch_near(x + row * x_row + j * x_column)
                vprefetch_near(x + row * x_row + j * x_column + VL)
            source = x + i * x_row + j * x_column
            sliver = to + j // NR * sliver_stride(rows) + i * NR
            if x_column == 1 and columns - j >= NR:
                copy_sliver(sliver, source, x_row, n)
            else:
                read_block(sliver, NR, source, x_row, x_column, n, min(columns - j, <int64_t> NR))
            j += NR
        i += n

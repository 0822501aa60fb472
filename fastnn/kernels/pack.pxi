# Packing for the product: parts of an operand laid down in the order in which the micro-kernel reads them.
cdef extern from "transpose.h":
    void vtranspose(vf *x) noexcept nogil


cdef inline void pack_rows(real *to, const real *b, int64_t b_step, int64_t k, int64_t columns) noexcept nogil:
    """One sliver from rows in place: k rows of NR numbers, zeros after the last column."""
    cdef int64_t step
    cdef int v
    cdef int64_t left
    for step in range(k):
        for v in range(NV):
            left = columns - v * VL
            if left >= VL:
                vstore(to + v * VL, vload(b + v * VL))
            elif left > 0:
                vstore(to + v * VL, vload_part(b + v * VL, left))
            else:
                vstore(to + v * VL, vsplat(0))
        to += NR
        b += b_step


cdef inline void pack_square(real *to, const real *b, int64_t b_column, int64_t k, int64_t columns) noexcept nogil:
    """At most VL steps of VL columns, each column contiguous in b: transposed in registers."""
    cdef vf x[VL]
    cdef int i
    for i in range(VL):
        if i >= columns:
            x[i] = vsplat(0)
        elif k >= VL:
            x[i] = vload(b + i * b_column)
        else:
            x[i] = vload_part(b + i * b_column, k)
    vtranspose(x)
    for i in range(VL):
        if i < k:
            vstore(to + i * NR, x[i])


cdef void pack_columns(real *to, const real *b, int64_t b_column, int64_t k, int64_t columns) noexcept nogil:
    """One sliver from columns that are contiguous in b."""
    cdef int64_t step = 0
    cdef int v
    while step < k:
        for v in range(NV):
            if k - step >= VL and columns >= (v + 1) * VL:
                pack_square(to + step * NR + v * VL, b + v * VL * b_column + step, b_column, VL, VL)
            else:
                pack_square(to + step * NR + v * VL, b + v * VL * b_column + step, b_column, k - step, columns - v * VL)
        step += VL


cdef void pack_strided(real *to, const real *b, int64_t b_step, int64_t b_column, int64_t k,
                       int64_t columns) noexcept nogil:
    """One sliver from anything."""
    cdef int64_t step, j
    for step in range(k):
        for j in range(NR):
            to[step * NR + j] = b[step * b_step + j * b_column] if j < columns else 0


cdef void pack_slivers(real *to, const real *b, int64_t b_step, int64_t b_column, int64_t k,
                       int64_t columns) noexcept nogil:
    """A block of b as slivers of NR columns, one after the other, each k steps long."""
    cdef int64_t j = 0, width
    while j < columns:
        width = min(columns - j, <int64_t> NR)
        if b_column == 1:
            pack_rows(to, b + j, b_step, k, width)
        elif b_step == 1:
            pack_columns(to, b + j * b_column, b_column, k, width)
        else:
            pack_strided(to, b + j * b_column, b_step, b_column, k, width)
        to += k * NR
        j += NR


cdef void read_block(real *to, int64_t to_row, const real *x, int64_t row, int64_t column, int64_t rows,
                     int64_t columns) noexcept nogil:
    """A strided part of a matrix into contiguous rows."""
    cdef int64_t i, j
    for i in range(rows):
        for j in range(columns):
            to[i * to_row + j] = x[i * row + j * column]


cdef void scatter(real *x, int64_t row, int64_t column, const real *rows_of, int64_t from_row, int64_t rows,
                  int64_t columns) noexcept nogil:
    """Contiguous rows into a strided part of a matrix."""
    cdef int64_t i, j
    for i in range(rows):
        for j in range(columns):
            x[i * row + j * column] = rows_of[i * from_row + j]

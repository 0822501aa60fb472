# Few rows times a matrix whose columns, not rows, are contiguous (a vector times a weight's transpose): each number of
# b is used so few times that packing would cost more than the product. Squares of b are turned in registers instead.


cdef inline int64_t first_in_line(const real *b, int64_t b_column) noexcept nogil:
    """Where in a vector b begins, if squares are to begin where vectors do; else 0.

    They are where columns share sets: a line that two squares need would be gone before the second comes.
    """
    return <int64_t> (<uintptr_t> b // sizeof(real) % VL) if shares_sets(b_column) else 0


cdef inline void turned(int rows, int groups, bint masked, const Tile *t, int64_t columns,
                        int64_t b_column) noexcept nogil:
    """All chains of some columns: `groups` times VL or a multiple of that, or, if `masked`, fewer than VL in one group.
    `rows`, `groups` and `masked` are literals, as in `tile`.

    c starts from what it holds if t.start says so. Each group's sum is a chain of its own: while one waits for its
    next term, another's is added. The chains of one group follow each other, since memory likes long runs.
    """
    cdef vf acc[TURNED_ROWS][MOST_TURNED_GROUPS]
    cdef vf sum[TURNED_ROWS][MOST_TURNED_GROUPS]
    cdef vf x[VL]
    cdef vf part[VL]  # apart from x, which lives in registers
    cdef int r, g, i
    cdef int64_t number, step, end, n, origin = first_in_line(t.b, b_column), a_row = t.a_row, a_step = t.a_step
    cdef int64_t lanes = columns if masked else VL
    cdef const real *at
    cdef const real *next
    cdef const real *b
    cdef real *c
    for number in range(1 if masked else columns // (groups * VL)):
        c = t.c + number * groups * VL
        b = t.b + number * groups * VL * b_column
        at = t.a
        step = 0
        for r in range(rows):
            for g in range(groups):
                acc[r][g] = vsplat(0)
                if t.start != NULL:
                    acc[r][g] = vload_part(c + r * t.c_row, lanes) if masked else vload(c + r * t.c_row + g * VL)
        while True:
            end = min(t.k, step + KCHAIN)
            while step < end:
                n = min(end - step, VL - (origin + step) % VL)
                for g in range(groups):
                    next = at
                    if n == VL:
                        if masked:
                            vload_turned_part(x, b + step, b_column, lanes)
                        else:
                            vload_turned(x, b + g * VL * b_column + step, b_column)
                        for i in range(VL):
                            for r in range(rows):
                                acc[r][g] = vfma(vsplat(next[r * a_row]), x[i], acc[r][g])
                            next += a_step
                            forget_origin(next)
                    else:
                        for i in range(VL):
                            part[i] = vload_part(b + (g * VL + min(i, lanes - 1)) * b_column + step, n)
                        vtranspose(part)
                        for i in range(n):
                            for r in range(rows):
                                acc[r][g] = vfma(vsplat(next[r * a_row]), part[i], acc[r][g])
                            next += a_step
                at = next
                step += n
            for r in range(rows):
                for g in range(groups):
                    sum[r][g] = acc[r][g] if end <= KCHAIN else sum[r][g] + acc[r][g]
                    acc[r][g] = vsplat(0)
            if step == t.k:
                break
        for r in range(rows):
            for g in range(groups):
                if masked:
                    vstore_part(c + r * t.c_row, sum[r][g], lanes)
                else:
                    vstore(c + r * t.c_row + g * VL, sum[r][g])


cdef inline void turned_rows(int groups, bint masked, int rows, const Tile *t, int64_t columns,
                             int64_t b_column) noexcept nogil:
    if TURNED_ROWS >= 8 and rows == 8:
        turned(8, groups, masked, t, columns, b_column)
    elif TURNED_ROWS >= 7 and rows == 7:
        turned(7, groups, masked, t, columns, b_column)
    elif TURNED_ROWS >= 6 and rows == 6:
        turned(6, groups, masked, t, columns, b_column)
    elif TURNED_ROWS >= 5 and rows == 5:
        turned(5, groups, masked, t, columns, b_column)
    elif TURNED_ROWS >= 4 and rows == 4:
        turned(4, groups, masked, t, columns, b_column)
    elif rows == 3:
        turned(3, groups, masked, t, columns, b_column)
    elif rows == 2:
        turned(2, groups, masked, t, columns, b_column)
    else:
        turned(1, groups, masked, t, columns, b_column)


cdef void run_turned(int rows, Tile *t, int64_t columns, int64_t b_column) noexcept nogil:
    """Up to TURNED_ROWS rows."""
    cdef int64_t grouped
    if rows == 1 and whole_vectors and not shares_sets(2 * b_column):  # twice as many columns are read side by side
        grouped = columns // (2 * VL) * (2 * VL)
        turned(1, 2, False, t, grouped, b_column)
    else:
        grouped = columns // (TURNED_GROUPS * VL) * (TURNED_GROUPS * VL)
        turned_rows(TURNED_GROUPS, False, rows, t, grouped, b_column)
    skip_turned(t, &columns, grouped, b_column)
    if columns >= VL:
        grouped = columns // VL * VL
        turned_rows(1, False, rows, t, grouped, b_column)
        skip_turned(t, &columns, grouped, b_column)
    if columns > 0:
        turned_rows(1, True, rows, t, columns, b_column)


cdef inline void skip_turned(Tile *t, int64_t *columns, int64_t done, int64_t b_column) noexcept nogil:
    t.c += done
    t.b += done * b_column
    columns[0] -= done

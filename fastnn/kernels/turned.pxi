# Few rows times a matrix whose columns, not rows, are contiguous (a vector times a weight's transpose): each number of
# b is used so few times that packing would cost more than the product. Squares of b are turned in registers instead.


cdef inline void turned(int rows, int groups, const Tile *t, int64_t columns, int64_t b_column) noexcept nogil:
    """All chains of some columns, a whole number of groups of VL. `rows` and `groups` are literals, as in `tile`.

    c starts from what it holds if t.start says so. Each group's sum is a chain of its own: while one waits for its
    next term, another's is added. The chains of one group follow each other, since memory likes long runs.
    """
    cdef vf acc[TURNED_ROWS][TURNED_GROUPS]
    cdef vf sum[TURNED_ROWS][TURNED_GROUPS]
    cdef vf x[VL]
    cdef vf rest[VL]  # apart from x, which lives in registers
    cdef int r, g, i
    cdef int64_t number, step, end, a_row = t.a_row, a_step = t.a_step
    cdef const real *at
    cdef const real *next
    cdef const real *b
    cdef real *c
    for number in range(columns // (groups * VL)):
        c = t.c + number * groups * VL
        b = t.b + number * groups * VL * b_column
        at = t.a
        step = 0
        for r in range(rows):
            for g in range(groups):
                acc[r][g] = vsplat(0)
                if t.start != NULL:
                    acc[r][g] = vload(c + r * t.c_row + g * VL)
        while True:
            end = min(t.k, step + KCHAIN)
            while step + VL <= end:
                for g in range(groups):
                    vload_turned(x, b + g * VL * b_column + step, b_column)
                    next = at
                    for i in range(VL):
                        for r in range(rows):
                            acc[r][g] = vfma(vsplat(next[r * a_row]), x[i], acc[r][g])
                        next += a_step
                        forget_origin(next)
                at = next
                step += VL
            if step < end:
                for g in range(groups):
                    for i in range(VL):
                        rest[i] = vload_part(b + (g * VL + i) * b_column + step, end - step)
                    vtranspose(rest)
                    for i in range(end - step):
                        for r in range(rows):
                            acc[r][g] = vfma(vsplat(at[r * a_row + i * a_step]), rest[i], acc[r][g])
                step = end
            for r in range(rows):
                for g in range(groups):
                    sum[r][g] = acc[r][g] if end <= KCHAIN else sum[r][g] + acc[r][g]
                    acc[r][g] = vsplat(0)
            if step == t.k:
                break
        for r in range(rows):
            for g in range(groups):
                vstore(c + r * t.c_row + g * VL, sum[r][g])


cdef void run_turned(int rows, Tile *t, int64_t columns, int64_t b_column) noexcept nogil:
    """Up to TURNED_ROWS rows; `columns` is a multiple of VL."""
    cdef int64_t grouped = columns // (TURNED_GROUPS * VL) * (TURNED_GROUPS * VL)
    if rows == 1:
        turned(1, TURNED_GROUPS, t, grouped, b_column)
    elif rows == 2:
        turned(2, TURNED_GROUPS, t, grouped, b_column)
    else:
        turned(3, TURNED_GROUPS, t, grouped, b_column)
    t.c += grouped
    t.b += grouped * b_column
    if rows == 1:
        turned(1, 1, t, columns - grouped, b_column)
    elif rows == 2:
        turned(2, 1, t, columns - grouped, b_column)
    else:
        turned(3, 1, t, columns - grouped, b_column)

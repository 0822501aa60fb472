# Few rows times a matrix whose columns, not rows, are contiguous (a vector times a weight's transpose): each number of
# b is used so few times that packing would cost more than the product. Squares of b are turned in registers instead.


cdef inline void turned(int rows, int groups, const Tile *t, int64_t columns, int64_t b_column) noexcept nogil:
    """One chain of some columns, a whole number of groups of VL. `rows` and `groups` are literals, as in `tile`.

    c starts from what it holds if t.start says so. Each group's sum is a chain of its own: while one waits for its
    next term, another's is added.
    """
    cdef vf acc[TURNED_ROWS][TURNED_GROUPS]
    cdef vf x[VL]
    cdef vf rest[VL]
    cdef int r, g, i
    cdef int64_t number, step, left = t.k % VL, whole = t.k - left, a_row = t.a_row, a_step = t.a_step
    cdef const real *at
    cdef const real *b
    cdef real *c
    for number in range(columns // (groups * VL)):
        c = t.c + number * groups * VL
        b = t.b + number * groups * VL * b_column
        at = t.a
        for r in range(rows):
            for g in range(groups):
                acc[r][g] = vsplat(0)
        if t.start != NULL:
            for r in range(rows):
                for g in range(groups):
                    acc[r][g] = vload(c + r * t.c_row + g * VL)
        step = 0
        while step < whole:
            for g in range(groups):
                for i in range(VL):
                    x[i] = vload(b + (g * VL + i) * b_column + step)
                vtranspose(x)
                for i in range(VL):
                    for r in range(rows):
                        acc[r][g] = vfma(vsplat(at[r * a_row + i * a_step]), x[i], acc[r][g])
            at += VL * a_step
            step += VL
        if left > 0:
            for g in range(groups):
                for i in range(VL):
                    rest[i] = vload_part(b + (g * VL + i) * b_column + step, left)
                vtranspose(rest)
                for i in range(left):
                    for r in range(rows):
                        acc[r][g] = vfma(vsplat(at[r * a_row + i * a_step]), rest[i], acc[r][g])
        for r in range(rows):
            for g in range(groups):
                if t.add:
                    acc[r][g] = vload(c + r * t.c_row + g * VL) + acc[r][g]
                vstore(c + r * t.c_row + g * VL, acc[r][g])


cdef void run_turned(int rows, Tile *t, int64_t columns, int64_t b_column) noexcept nogil:
    """One chain of up to TURNED_ROWS rows; `columns` is a multiple of VL."""
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

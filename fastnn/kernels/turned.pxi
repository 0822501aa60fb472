# Few rows times a matrix whose columns, not rows, are contiguous (a vector times a weight's transpose): each number of
# b is used so few times that packing would cost more than the product. Squares of b are turned in registers instead.


cdef inline int64_t first_in_line(const real *b, int64_t b_column) noexcept nogil:
    """Where in a vector b begins, if squares are to begin where vectors do; else 0.

    They are where columns share sets: a line that two squares need would be gone before the second comes.
    """
    return <int64_t> (<uintptr_t> b // sizeof(real) % VL) if shares_sets(b_column) else 0


cdef inline void add_square(int rows, bint masked, vf *acc, const real *a, int64_t a_row, int64_t a_step,
                            const real *b, int64_t b_column, int64_t lanes, int64_t n) noexcept nogil:
    """acc[r] += a[r, :] b: n steps, VL at most, of VL columns, or of `lanes` if `masked`."""
    cdef vf x[VL]
    cdef vf part[VL]  # apart from x, which lives in registers
    cdef int r, i
    if n == VL:
        if masked:
            vload_turned_part(x, b, b_column, lanes)
        else:
            vload_turned(x, b, b_column)
        for i in range(VL):
            for r in range(rows):
                acc[r] = vfma(vsplat(a[r * a_row]), x[i], acc[r])
            a += a_step
            forget_origin(a)
    else:
        for i in range(VL):
            part[i] = vload_part(b + min(i, lanes - 1) * b_column, n)
        vtranspose(part)
        for i in range(n):
            for r in range(rows):
                acc[r] = vfma(vsplat(a[r * a_row]), part[i], acc[r])
            a += a_step


cdef inline void turned(int rows, int groups, bint masked, const Tile *t, int64_t columns,
                        int64_t b_column) noexcept nogil:
    """All chains of some columns: `groups` times VL or a multiple of that, or, if `masked`, fewer than VL in one group.
    `rows`, `groups` (1, 2 or 4) and `masked` are literals, as in `tile`.

    c starts from what it holds if t.start says so. Each group's sum is a chain of its own: while one waits for its
    next term, another's is added. The chains of one group follow each other, since memory likes long runs.
    """
    cdef vf acc[ONE_ROW_GROUPS][TURNED_ROWS]
    cdef vf sum[ONE_ROW_GROUPS][TURNED_ROWS]
    cdef int r, g
    cdef int64_t number, step, end, n, origin = first_in_line(t.b, b_column), a_row = t.a_row, a_step = t.a_step
    cdef int64_t lanes = columns if masked else VL, group = VL * b_column
    cdef const real *at
    cdef const real *b
    cdef real *c
    for number in range(1 if masked else columns // (groups * VL)):
        c = t.c + number * groups * VL
        b = t.b + number * groups * group
        at = t.a
        step = 0
        for r in range(rows):
            for g in range(groups):
                acc[g][r] = vsplat(0)
                if t.start != NULL:
                    acc[g][r] = vload_part(c + r * t.c_row, lanes) if masked else vload(c + r * t.c_row + g * VL)
        while True:
            end = min(t.k, step + KCHAIN)
            while step < end:
                n = min(end - step, VL - (origin + step) % VL)
                # One by one: a loop over squares would not be unrolled, and acc not live in registers.
                add_square(rows, masked, acc[0], at, a_row, a_step, b + step, b_column, lanes, n)
                if groups > 1:
                    add_square(rows, masked, acc[1], at, a_row, a_step, b + step + group, b_column, lanes, n)
                if groups > 2:
                    add_square(rows, masked, acc[2], at, a_row, a_step, b + step + 2 * group, b_column, lanes, n)
                    add_square(rows, masked, acc[3], at, a_row, a_step, b + step + 3 * group, b_column, lanes, n)
                at += n * a_step
                step += n
            for r in range(rows):
                for g in range(groups):
                    sum[g][r] = acc[g][r] if end <= KCHAIN else sum[g][r] + acc[g][r]
                    acc[g][r] = vsplat(0)
            if step == t.k:
                break
        for r in range(rows):
            for g in range(groups):
                if masked:
                    vstore_part(c + r * t.c_row, sum[g][r], lanes)
                else:
                    vstore(c + r * t.c_row + g * VL, sum[g][r])


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


cdef inline void turn_groups(int groups, int rows, Tile *t, int64_t *columns, int64_t b_column) noexcept nogil:
    """As many of the columns as make up groups."""
    cdef int64_t grouped = columns[0] // (groups * VL) * (groups * VL)
    if grouped > 0:
        turned_rows(groups, False, rows, t, grouped, b_column)
        t.c += grouped
        t.b += grouped * b_column
        columns[0] -= grouped


cdef void run_turned(int rows, Tile *t, int64_t columns, int64_t b_column) noexcept nogil:
    """Up to TURNED_ROWS rows. One has so few chains of additions that more columns are read side by side, unless those
    share sets."""
    if rows == 1 and side_by_side and not shares_sets(2 * b_column):
        turn_groups(ONE_ROW_GROUPS, 1, t, &columns, b_column)
    if TURNED_GROUPS > SHARING_GROUPS and not shares_sets(b_column):
        turn_groups(TURNED_GROUPS, rows, t, &columns, b_column)
    if SHARING_GROUPS > 1:
        turn_groups(SHARING_GROUPS, rows, t, &columns, b_column)
    turn_groups(1, rows, t, &columns, b_column)
    if columns > 0:
        turned_rows(1, True, rows, t, columns, b_column)

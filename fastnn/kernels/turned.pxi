# Some rows times a matrix whose columns, not rows, are contiguous (a vector times a weight's transpose): pieces of b
# are turned in registers on the way, which costs less than packing it, even if each band of rows does so anew.


cdef enum:
    WHOLE_GROUPS           # what a tile of a turned product computes: VL columns or some times as many, ...
    LAST_GROUP             # ... or VL columns, of which only the last ones are stored, ...
    NARROW_GROUP           # ... or fewer than VL, where there are no others


cdef inline void add_steps_of(int rows, int most, int kind, vf *acc, const real *a, int64_t a_row, int64_t a_step,
                              const real *b, int64_t b_column, int64_t lanes, int64_t before, int64_t n) noexcept nogil:
    """acc[r] += a[r, :] b: n steps, `most` (LANE or VL) or fewer, of VL columns, or of `lanes` in a narrow group. There
    are so many steps `before` these."""
    cdef vf x[VL]
    cdef vf part[VL]  # apart from x, which lives in registers
    cdef int r, i
    if n == most:
        if kind == NARROW_GROUP:
            vload_turned_part(x, b, b_column, lanes)
        elif most == LANE:
            vload_turned_lane(x, b, b_column)
        else:
            vload_turned(x, b, b_column)
        for i in range(most):
            for r in range(rows):
                acc[r] = vfma(vsplat(a[r * a_row]), x[i], acc[r])
            a += a_step
            forget_origin(a)
    elif most == LANE and kind != NARROW_GROUP and before + n >= LANE:  # those before come along, to be left out
        vload_turned_lane(x, b + n - LANE, b_column)
        for i in range(1, LANE):
            if i >= LANE - n:
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


cdef inline void turned(int rows, int groups, int steps, int kind, const Tile *t, int64_t columns,
                        int64_t b_column) noexcept nogil:
    """All chains of some columns: `groups` times VL or a multiple of that; or fewer than VL in one group.
    `rows`, `groups` (1, 2 or 4), `steps` and `kind` are literals, as in `tile`.

    LANE steps are turned at a time, so that loading the next ones goes along with adding these. VL are where columns
    share sets: a line that is needed twice would be gone before the second time; there squares begin where vectors do.
    c starts from what it holds if t.start says so. Each group's sum is a chain of its own: while one waits for its
    next term, another's is added. The chains of one group follow each other, since memory likes long runs.
    """
    cdef vf acc[ONE_ROW_GROUPS][TURNED_ROWS]
    cdef vf sum[ONE_ROW_GROUPS][TURNED_ROWS]
    cdef int r, g
    cdef int64_t number, step, end, n, a_row = t.a_row, a_step = t.a_step
    cdef int64_t origin = <int64_t> (<uintptr_t> t.b // sizeof(real) % VL) if shares_sets(b_column) else 0
    cdef int64_t lanes = columns if kind == NARROW_GROUP else VL, group = VL * b_column
    cdef const real *at
    cdef const real *b
    cdef const real *at_b
    cdef real *c
    for number in range(columns // (groups * VL) if kind == WHOLE_GROUPS else 1):
        c = t.c + number * groups * VL
        b = t.b + number * groups * group
        at = t.a
        step = 0
        for r in range(rows):
            for g in range(groups):
                acc[g][r] = vsplat(0)
                if t.start != NULL:
                    if kind == NARROW_GROUP:
                        acc[g][r] = vload_part(c + r * t.c_row, columns)
                    else:
                        acc[g][r] = vload(c + r * t.c_row + g * VL)
        while True:
            end = min(t.k, step + KCHAIN)
            while step < end:
                n = min(end - step, steps - (origin + step) % steps)
                # One group by one: a loop over them would not be unrolled, and acc not live in registers.
                at_b = b + step
                add_steps_of(rows, steps, kind, acc[0], at, a_row, a_step, at_b, b_column, lanes, step, n)
                if groups > 1:
                    at_b += group
                    add_steps_of(rows, steps, kind, acc[1], at, a_row, a_step, at_b, b_column, lanes, step, n)
                if groups > 2:
                    at_b += group
                    add_steps_of(rows, steps, kind, acc[2], at, a_row, a_step, at_b, b_column, lanes, step, n)
                    at_b += group
                    add_steps_of(rows, steps, kind, acc[3], at, a_row, a_step, at_b, b_column, lanes, step, n)
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
                if kind == WHOLE_GROUPS:
                    vstore(c + r * t.c_row + g * VL, sum[g][r])
                elif kind == LAST_GROUP:
                    vstore_last(c + r * t.c_row, sum[g][r], columns)
                else:
                    vstore_part(c + r * t.c_row, sum[g][r], columns)


cdef inline void turned_by_two_chains(const Tile *t, int64_t columns, int64_t b_column) noexcept nogil:
    """One row, some times SHARING_COLUMNS columns that share sets, and pairs of chains: no more columns at a time than
    a set has places, and, since their few chains would wait for each other, two of each column side by side. (In
    float64 two chains would share sets themselves.)"""
    cdef vf acc[2][LOW_GROUPS]
    cdef vf sum[LOW_GROUPS]
    cdef vf x[LANE]
    cdef vf y[LANE]
    cdef int g, i
    cdef int64_t number, step, left, a_step = t.a_step
    cdef const real *a
    cdef const real *a2
    cdef const real *b
    cdef real *c
    for number in range(columns // SHARING_COLUMNS):
        c = t.c + number * SHARING_COLUMNS
        step = 0
        while step < t.k:
            a = t.a + step * a_step
            a2 = a + KCHAIN * a_step
            b = t.b + number * SHARING_COLUMNS * b_column + step
            for g in range(LOW_GROUPS):
                acc[0][g] = acc[1][g] = vsplat(0)
                if step == 0 and t.start != NULL:
                    acc[0][g] = vload_low(c + g * LOW_VL)
            left = KCHAIN
            while left > 0:
                for g in range(LOW_GROUPS):
                    vload_turned_low(x, b + g * LOW_VL * b_column, b_column)
                    vload_turned_low(y, b + g * LOW_VL * b_column + KCHAIN, b_column)
                    for i in range(LANE):
                        acc[0][g] = vfma_low(vsplat_low(a[i * a_step]), x[i], acc[0][g])
                        acc[1][g] = vfma_low(vsplat_low(a2[i * a_step]), y[i], acc[1][g])
                a += LANE * a_step
                a2 += LANE * a_step
                b += LANE
                left -= LANE
            for g in range(LOW_GROUPS):
                sum[g] = (acc[0][g] if step == 0 else sum[g] + acc[0][g]) + acc[1][g]
            step += 2 * KCHAIN
        for g in range(LOW_GROUPS):
            vstore_low(c + g * LOW_VL, sum[g])


cdef inline void turned_rows(int most, int groups, int steps, int kind, int rows, const Tile *t, int64_t columns,
                             int64_t b_column) noexcept nogil:
    """`rows` are `most` or fewer; that, too, is a literal."""
    if most >= 14 and rows == 14:
        turned(14, groups, steps, kind, t, columns, b_column)
    elif most >= 13 and rows == 13:
        turned(13, groups, steps, kind, t, columns, b_column)
    elif most >= 12 and rows == 12:
        turned(12, groups, steps, kind, t, columns, b_column)
    elif most >= 11 and rows == 11:
        turned(11, groups, steps, kind, t, columns, b_column)
    elif most >= 10 and rows == 10:
        turned(10, groups, steps, kind, t, columns, b_column)
    elif most >= 9 and rows == 9:
        turned(9, groups, steps, kind, t, columns, b_column)
    elif most >= 8 and rows == 8:
        turned(8, groups, steps, kind, t, columns, b_column)
    elif most >= 7 and rows == 7:
        turned(7, groups, steps, kind, t, columns, b_column)
    elif most >= 6 and rows == 6:
        turned(6, groups, steps, kind, t, columns, b_column)
    elif most >= 5 and rows == 5:
        turned(5, groups, steps, kind, t, columns, b_column)
    elif most >= 4 and rows == 4:
        turned(4, groups, steps, kind, t, columns, b_column)
    elif rows == 3:
        turned(3, groups, steps, kind, t, columns, b_column)
    elif rows == 2:
        turned(2, groups, steps, kind, t, columns, b_column)
    else:
        turned(1, groups, steps, kind, t, columns, b_column)


cdef inline void skip_columns(Tile *t, int64_t *columns, int64_t done, int64_t b_column) noexcept nogil:
    t.c += done
    t.b += done * b_column
    columns[0] -= done


cdef inline void turn_groups(int most, int groups, int steps, int rows, Tile *t, int64_t *columns,
                             int64_t b_column) noexcept nogil:
    """As many of the columns as make up groups."""
    cdef int64_t grouped = columns[0] // (groups * VL) * (groups * VL)
    if grouped > 0:
        turned_rows(most, groups, steps, WHOLE_GROUPS, rows, t, grouped, b_column)
        skip_columns(t, columns, grouped, b_column)


cdef void run_turned(int rows, Tile *t, int64_t n, int64_t b_column, bint near) noexcept nogil:
    """Up to TURNED_ROWS rows, of columns that share sets up to SHARING_TURNED_ROWS.

    One row has so few chains of additions that more columns are read side by side, unless those share sets; then two
    chains of a column, if b does not come from memory. Columns that fill no vector come last, with some before them if
    there are enough, which are not stored.
    """
    cdef int64_t columns = n, apart
    if shares_sets(b_column):
        if not REAL_IS_DOUBLE and near and rows == 1 and t.k > 0 and t.k % (2 * KCHAIN) == 0:
            apart = n // SHARING_COLUMNS * SHARING_COLUMNS
            turned_by_two_chains(t, apart, b_column)
            skip_columns(t, &columns, apart, b_column)
        if SHARING_GROUPS > 1:
            turn_groups(SHARING_TURNED_ROWS, SHARING_GROUPS, VL, rows, t, &columns, b_column)
        if TURNED_STEPS < VL:
            turn_groups(SHARING_TURNED_ROWS, 1, VL, rows, t, &columns, b_column)
    else:
        if rows == 1 and not shares_sets(2 * b_column):
            turn_groups(1, ONE_ROW_GROUPS, TURNED_STEPS, 1, t, &columns, b_column)
        if TURNED_GROUPS > 1:
            turn_groups(TURNED_ROWS, TURNED_GROUPS, TURNED_STEPS, rows, t, &columns, b_column)
    turn_groups(TURNED_ROWS, 1, TURNED_STEPS, rows, t, &columns, b_column)
    if columns > 0 and n >= VL:
        t.c -= VL - columns
        t.b -= (VL - columns) * b_column
        turned_rows(TURNED_ROWS, 1, TURNED_STEPS, LAST_GROUP, rows, t, columns, b_column)
    elif columns > 0:
        turned_rows(TURNED_ROWS, 1, VL, NARROW_GROUP, rows, t, columns, b_column)

# The micro-kernel of the product: a tile of c held in registers while k runs through one chain.


cdef enum:
    WHOLE                  # what a tile multiplies: vectors of numbers, ...
    HALVES                 # ... their lower halves, being one vector wide and VL / 2 columns at most, ...
    SPREAD                 # ... or vectors by numbers of a that fill a vector in memory, ...
    PAIRS                  # ... or vectors of pairs of bfloat16 numbers

    FAR = 32               # steps after which it pays to have asked for c beforehand: the processor looks less far


cdef struct Tile:
    # One tile, or several in a line: along a row of tiles or down a column.
    const real *a          # element (row, step) lies at a + row * a_row + step * a_step
    int64_t a_row, a_step
    const real *b          # element (step, column) lies at b + step * b_step + column ...
    int64_t b_step
    int64_t b_apart        # ... of the first NR columns, and those of the next NR so far from there
    int64_t k
    const real *start      # what the chain starts from, rows start_row apart; NULL: from zero
    int64_t start_row
    real *c                # rows c_row apart
    int64_t c_row
    bint add               # the chain, times `factor`, is added to c instead of replacing it
    real factor
    int64_t lanes          # columns in a tile's last vector
    int64_t tiles          # how many, and how far each pointer is from one to the next
    int64_t a_next, b_next, start_next, c_next


cdef inline vf in_all_lanes(int kind, const real *a) noexcept nogil:
    if kind == SPREAD:
        return vload(a)
    return vsplat_pair(a) if kind == PAIRS else vsplat_low(a[0]) if kind == HALVES else vsplat(a[0])


cdef inline vf multiply_add(int kind, vf a, vf b, vf c) noexcept nogil:
    return vpairs(a, b, c) if kind == PAIRS else vfma_low(a, b, c) if kind == HALVES else vfma(a, b, c)


cdef inline vf vload_of_b(int rows, int vectors, const real *b) noexcept nogil:
    """Kept in a register for all rows where there are enough of them: those of rows that are no multiple of a cache
    line long lie in two, and cost two loads each time."""
    return vload_once(b) if rows > 1 and (rows + 1) * vectors < REGISTERS else vload(b)


cdef inline vf last_of_b(int kind, const real *b, int64_t lanes) noexcept nogil:
    return vload_low_part(b, lanes) if kind == HALVES else vload_part(b, lanes)


cdef inline void tile(int rows, int vectors, bint masked, int kind, const Tile *t) noexcept nogil:
    """One chain of each tile. `rows`, `vectors`, `masked` and `kind` are literals where this is called: the loops over
    them unroll and `acc` lives in registers. `masked`: the last vector has less than VL columns.

    Three things are there for the compiler. The loop over tiles: GCC turns small arrays into registers only if the
    loops over them are unrolled early, and early it unrolls only loops within loops. A pointer for every three rows,
    which reaches them as p, p + row and p + 2 row, and steps counted down: the loop over steps then has few enough
    addresses for the registers. (An address kept in a vector register costs the unit that multiplies.) Half a row's
    bytes, which times 2 and 4 are what an address may add. And c forgotten after that loop: the compiler would know
    the rows' places before it, keep all of them, and have the loop's own pointers in memory; and once more after adding
    to c, since it would keep them in vector registers until it stores.
    """
    cdef vf acc[MR][TILE_VECTORS]
    cdef vf b[TILE_VECTORS]
    cdef vf x, factor
    cdef int r, v, g, whole = vectors - masked, last = vectors - 1
    cdef int64_t number, left, c_row, lanes = t.lanes, a_step = t.a_step, b_step = t.b_step, b_apart = t.b_apart
    cdef const char *at[ROW_TRIPLES]
    cdef int64_t half = t.a_row * <int64_t> sizeof(real) // 2
    cdef const real *ar
    cdef const real *bt
    cdef const real *start
    cdef real *c
    cdef real *row
    for number in range(t.tiles):
        for r in range(rows):
            for v in range(vectors):
                acc[r][v] = vsplat(0)
        if t.start != NULL:
            start = t.start + number * t.start_next
            for r in range(rows):
                for v in range(whole):
                    acc[r][v] = vload(start + v * VL)
                if masked:
                    acc[r][last] = vload_part(start + last * VL, lanes)
                start += t.start_row
        if t.add and t.k >= FAR:
            row = t.c + number * t.c_next
            for r in range(rows):
                for v in range(vectors):
                    vprefetch(row + v * VL)
                row += t.c_row
        for g in range((rows + 2) // 3):
            at[g] = <const char *> (t.a + number * t.a_next + 3 * g * t.a_row)
            forget_origin(at[g])
        forget_origin(half)
        bt = t.b + number * t.b_next
        left = t.k
        while left > 0:
            left -= 1
            for v in range(whole):
                b[v] = vload_of_b(rows, vectors, bt + v // NV * b_apart + v % NV * VL)
            if masked:
                b[last] = last_of_b(kind, bt + last // NV * b_apart + last % NV * VL, lanes)
            for r in range(rows):
                ar = <const real *> (at[r // 3] + 2 * (r % 3) * half)
                x = in_all_lanes(kind, ar)
                for v in range(vectors):
                    acc[r][v] = multiply_add(kind, x, b[v], acc[r][v])
            for g in range((rows + 2) // 3):
                at[g] += a_step * <int64_t> sizeof(real)
            bt += b_step
        c, c_row = t.c + number * t.c_next, t.c_row
        forget_origin(c)
        forget_origin(c_row)
        if t.add:
            factor = vsplat(t.factor)
            row = c
            for r in range(rows):
                for v in range(whole):
                    acc[r][v] = vfma(factor, acc[r][v], vload(row + v * VL))
                if masked:
                    acc[r][last] = vfma(factor, acc[r][last], vload_part(row + last * VL, lanes))
                row += c_row
            forget_origin(c)
        for r in range(rows):
            for v in range(whole):
                vstore(c + v * VL, acc[r][v])
            if masked:
                vstore_part(c + last * VL, acc[r][last], lanes)
            c += c_row


cdef inline void tile_edge(int rows, int vectors, int kind, const Tile *t) noexcept nogil:
    if kind != HALVES and t.lanes == VL:
        tile(rows, vectors, False, kind, t)
    else:
        tile(rows, vectors, True, kind, t)


cdef inline void tile_narrow(int rows, int vectors, int kind, const Tile *t) noexcept nogil:
    if vectors == 2:
        tile_edge(rows, 2, kind, t)
    else:
        tile_edge(rows, 1, kind, t)


cdef inline void tile_wide(int rows, int vectors, int kind, const Tile *t) noexcept nogil:
    if rows > TRIPLE_ROWS:
        tile_narrow(rows, vectors, kind, t)
    elif rows <= WIDE_ROWS and vectors == 4:
        tile_edge(rows, 4, kind, t)
    elif vectors == 3:
        tile_edge(rows, 3, kind, t)
    else:
        tile_narrow(rows, vectors, kind, t)


cdef inline void tile_widest(int rows, int vectors, int kind, const Tile *t) noexcept nogil:
    if rows > WIDEST_ROWS:
        tile_wide(rows, vectors, kind, t)
    elif vectors == 8:
        tile_edge(rows, 8, kind, t)
    elif vectors == 7:
        tile_edge(rows, 7, kind, t)
    elif vectors == 6:
        tile_edge(rows, 6, kind, t)
    elif vectors == 5:
        tile_edge(rows, 5, kind, t)
    else:
        tile_wide(rows, vectors, kind, t)


cdef inline int widest(int64_t rows) noexcept nogil:
    """Vectors in a row of a tile: few rows take wider tiles, so that enough chains run side by side, and b is read in
    longer runs."""
    return NV if rows > WIDE_ROWS else 4 if rows > WIDEST_ROWS else TILE_VECTORS


cdef inline bint joins_last(int64_t rows, int64_t columns) noexcept nogil:
    """Whether a band's last columns, a whole tile's and those of one vector more, make one tile: that vector would have
    too few chains side by side if it were left alone."""
    return rows == TRIPLE_ROWS and TRIPLE_ROWS > WIDE_ROWS and NR < columns <= NR + VL


cdef void run_tile(int rows, int vectors, const Tile *t) noexcept nogil:
    """Calls the tile of that shape: rows from 1 to MR, vectors from 1 to widest(rows), and three if joins_last."""
    choose_tile(rows, vectors, WHOLE, t)


cdef void run_halves(int rows, const Tile *t) noexcept nogil:
    """The same for VL / 2 columns at most, where vectors go through in halves."""
    if LEVEL == 4:
        choose_tile(rows, 1, HALVES, t)


cdef void run_spread(int rows, int vectors, const Tile *t) noexcept nogil:
    """The same for a copy of a whose numbers fill vectors."""
    if SPREADS:
        choose_tile(rows, vectors, SPREAD, t)


cdef void run_pairs(int rows, int vectors, const Tile *t) noexcept nogil:
    """The same for pairs of bfloat16 numbers."""
    if HAS_PAIRS:
        choose_tile(rows, vectors, PAIRS, t)


cdef inline void choose_tile(int rows, int vectors, int kind, const Tile *t) noexcept nogil:
    if MR >= 14 and rows == 14:
        tile_widest(14, vectors, kind, t)
    elif MR >= 13 and rows == 13:
        tile_widest(13, vectors, kind, t)
    elif MR >= 12 and rows == 12:
        tile_widest(12, vectors, kind, t)
    elif MR >= 11 and rows == 11:
        tile_widest(11, vectors, kind, t)
    elif MR >= 10 and rows == 10:
        tile_widest(10, vectors, kind, t)
    elif MR >= 9 and rows == 9:
        tile_widest(9, vectors, kind, t)
    elif MR >= 8 and rows == 8:
        tile_widest(8, vectors, kind, t)
    elif MR >= 7 and rows == 7:
        tile_widest(7, vectors, kind, t)
    elif MR >= 6 and rows == 6:
        tile_widest(6, vectors, kind, t)
    elif MR >= 5 and rows == 5:
        tile_widest(5, vectors, kind, t)
    elif MR >= 4 and rows == 4:
        tile_widest(4, vectors, kind, t)
    elif rows == 3:
        tile_widest(3, vectors, kind, t)
    elif rows == 2:
        tile_widest(2, vectors, kind, t)
    else:
        tile_widest(1, vectors, kind, t)

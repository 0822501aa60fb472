# The micro-kernel of the product: a tile of c held in registers while k runs through one chain.


cdef enum:
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


cdef inline void tile(int rows, int vectors, bint masked, bint pairs, const Tile *t) noexcept nogil:
    """One chain of each tile. `rows`, `vectors`, `masked` and `pairs` are literals where this is called: the loops over
    them unroll and `acc` lives in registers. `masked`: the last vector has less than VL columns. `pairs`: a and b hold
    pairs of bfloat16 numbers.

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
                b[v] = vload(bt + v // NV * b_apart + v % NV * VL)
            if masked:
                b[last] = vload_part(bt + last // NV * b_apart + last % NV * VL, lanes)
            for r in range(rows):
                ar = <const real *> (at[r // 3] + 2 * (r % 3) * half)
                x = vsplat_pair(ar) if pairs else vsplat(ar[0])
                for v in range(vectors):
                    acc[r][v] = vpairs(x, b[v], acc[r][v]) if pairs else vfma(x, b[v], acc[r][v])
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


cdef inline void tile_edge(int rows, int vectors, bint pairs, const Tile *t) noexcept nogil:
    if t.lanes == VL:
        tile(rows, vectors, False, pairs, t)
    else:
        tile(rows, vectors, True, pairs, t)


cdef inline void tile_narrow(int rows, int vectors, bint pairs, const Tile *t) noexcept nogil:
    if vectors == 2:
        tile_edge(rows, 2, pairs, t)
    else:
        tile_edge(rows, 1, pairs, t)


cdef inline void tile_wide(int rows, int vectors, bint pairs, const Tile *t) noexcept nogil:
    if vectors == 4:
        tile_edge(rows, 4, pairs, t)
    elif vectors == 3:
        tile_edge(rows, 3, pairs, t)
    else:
        tile_narrow(rows, vectors, pairs, t)


cdef inline void tile_row(int vectors, bint pairs, const Tile *t) noexcept nogil:
    if vectors == 8:
        tile_edge(1, 8, pairs, t)
    elif vectors == 7:
        tile_edge(1, 7, pairs, t)
    elif vectors == 6:
        tile_edge(1, 6, pairs, t)
    elif vectors == 5:
        tile_edge(1, 5, pairs, t)
    else:
        tile_wide(1, vectors, pairs, t)


cdef inline int widest(int64_t rows) noexcept nogil:
    """Vectors in a row of a tile: few rows take wider tiles, so that enough chains run side by side."""
    return NV if rows > 3 else 4 if rows > 1 else TILE_VECTORS


cdef void run_tile(int rows, int vectors, const Tile *t) noexcept nogil:
    """Calls the tile of that shape: rows from 1 to MR, vectors from 1 to widest(rows)."""
    choose_tile(rows, vectors, False, t)


cdef void run_pairs(int rows, int vectors, const Tile *t) noexcept nogil:
    """The same for pairs of bfloat16 numbers."""
    if HAS_PAIRS:
        choose_tile(rows, vectors, True, t)


cdef inline void choose_tile(int rows, int vectors, bint pairs, const Tile *t) noexcept nogil:
    if MR >= 14 and rows == 14:
        tile_narrow(14, vectors, pairs, t)
    elif MR >= 13 and rows == 13:
        tile_narrow(13, vectors, pairs, t)
    elif MR >= 12 and rows == 12:
        tile_narrow(12, vectors, pairs, t)
    elif MR >= 11 and rows == 11:
        tile_narrow(11, vectors, pairs, t)
    elif MR >= 10 and rows == 10:
        tile_narrow(10, vectors, pairs, t)
    elif MR >= 9 and rows == 9:
        tile_narrow(9, vectors, pairs, t)
    elif MR >= 8 and rows == 8:
        tile_narrow(8, vectors, pairs, t)
    elif MR >= 7 and rows == 7:
        tile_narrow(7, vectors, pairs, t)
    elif MR >= 6 and rows == 6:
        tile_narrow(6, vectors, pairs, t)
    elif MR >= 5 and rows == 5:
        tile_narrow(5, vectors, pairs, t)
    elif MR >= 4 and rows == 4:
        tile_narrow(4, vectors, pairs, t)
    elif rows == 3:
        tile_wide(3, vectors, pairs, t)
    elif rows == 2:
        tile_wide(2, vectors, pairs, t)
    else:
        tile_row(vectors, pairs, t)

# A band of rows, or several: their tiles, side by side along columns or one below the other, and the copies of a that
# they read.


cdef inline bint fits_half(int64_t lanes) noexcept nogil:
    """Whether half a vector, in half the time, does for so many columns."""
    return halved and lanes <= VL // 2


cdef inline int64_t next_columns(int64_t left, int64_t most) noexcept nogil:
    """How many columns the next tile takes: not more than `most`, and a last half vector is left to its own tile."""
    if left >= most:
        return most
    return left // VL * VL if left > VL and left % VL and fits_half(left % VL) else left


cdef inline bint is_direct(const Product *p, const Tile *t) noexcept nogil:
    """Whether tiles can read and write c where it lies."""
    return p.sum.column == 1 and (t.start == NULL or p.start.column == 1)


cdef inline void any_tile(const Product *p, int rows, int vectors, const Tile *t) noexcept nogil:
    if p.rounded and in_pairs:
        run_pairs(rows, vectors, t)
    elif SPREADS and p.spread:
        run_spread(rows, vectors, t)
    elif vectors == 1 and fits_half(t.lanes):
        run_halves(rows, t)
    else:
        run_tile(rows, vectors, t)


cdef void buffered_tile(const Product *p, const Tile *tile, int rows, int vectors) noexcept nogil:
    """A tile that starts from, or ends in, strided memory."""
    cdef vf buffer[MR * TILE_VECTORS]
    cdef int64_t columns = (vectors - 1) * VL + tile.lanes
    cdef Tile t = tile[0]
    t.c = <real *> buffer
    t.c_row = vectors * VL
    t.tiles = 1
    if t.start != NULL:
        read_block(t.c, t.c_row, t.start, t.start_row, p.start.column, rows, columns)
        t.start = t.c
        t.start_row = t.c_row
    if t.add:
        read_block(t.c, t.c_row, tile.c, tile.c_row, p.sum.column, rows, columns)
    any_tile(p, rows, vectors, &t)
    write_block(tile.c, tile.c_row, p.sum.column, t.c, t.c_row, rows, columns)


cdef void run_tiles(const Product *p, Tile *t, int rows, int vectors, int64_t lanes, int64_t tiles,
                    bint packed) noexcept nogil:
    """Some tiles side by side; t moves on to the column after them."""
    cdef bint direct = is_direct(p, t)
    cdef int64_t each = tiles if direct else 1
    t.lanes = lanes
    t.tiles = each
    t.a_next = 0
    t.b_apart = sliver_stride(t.k) if packed else <int64_t> NR
    t.b_next = vectors // NV * t.b_apart + vectors % NV * VL  # for tiles that others follow: their vectors are whole
    t.start_next = vectors * VL * p.start.column
    t.c_next = vectors * VL * p.sum.column
    while tiles > 0:
        if direct:
            any_tile(p, rows, vectors, t)
        else:
            buffered_tile(p, t, rows, vectors)
        t.b += each * t.b_next
        t.c += each * t.c_next
        if t.start != NULL:
            t.start += each * t.start_next
        tiles -= each


cdef struct Ahead:
    # The part of a that the next band will read.
    const real *a
    int64_t rows, row, column, steps


cdef inline void fetch(const Ahead *ahead, int64_t part, int64_t parts) noexcept nogil:
    """Asks for one of several parts of it, so that it comes while tiles are computed."""
    cdef int64_t r, i, line = 64 // sizeof(real)
    if ahead.column != 1:  # a step's rows lie side by side, in a line or two
        for i in range(ahead.steps * part // parts, ahead.steps * (part + 1) // parts):
            vprefetch_near(ahead.a + i * ahead.column)
        return
    for r in range(ahead.rows):
        i = ahead.steps * part // parts
        while i < ahead.steps * (part + 1) // parts:
            vprefetch_near(ahead.a + r * ahead.row + i)
            i += line


cdef void one_band(const Product *p, Tile *t, int rows, bint packed, const Ahead *ahead) noexcept nogil:
    """One chain of some rows, at most MR; t is at their first tile."""
    cdef int width = widest(rows)
    cdef int64_t tiles = p.n // (width * VL), rest = p.n - tiles * (width * VL), vectors, number, columns
    if tiles > 0 and joins_last(rows, width * VL + rest):
        tiles -= 1
        rest += width * VL
    if ahead != NULL:
        if tiles == 0 and rest > width * VL:  # the joined tile is the only one
            fetch(ahead, 0, 1)
        for number in range(tiles):
            fetch(ahead, number, tiles)
            run_tiles(p, t, rows, width, VL, 1, packed)
    elif tiles > 0:
        run_tiles(p, t, rows, width, VL, tiles, packed)
    while rest > 0:
        columns = rest if joins_last(rows, rest) else next_columns(rest, width * VL)
        vectors = (columns + VL - 1) // VL
        run_tiles(p, t, rows, <int> vectors, columns - (vectors - 1) * VL, 1, packed)
        rest -= columns


cdef void bands_by_columns(const Product *p, Tile *t, int rows, int64_t bands, bint packed) noexcept nogil:
    """One chain of several bands of as many rows; t is at their first tile. All of them use a column of tiles' part of
    b before the next column's is read."""
    cdef int64_t j = 0, columns
    t.tiles = bands
    t.b_apart = sliver_stride(t.k) if packed else <int64_t> NR
    t.b_next = 0
    t.start_next = rows * t.start_row
    t.c_next = rows * t.c_row
    while j < p.n:
        columns = p.n - j
        if not joins_last(rows, columns):
            columns = next_columns(columns, NR)
        t.lanes = (columns - 1) % VL + 1
        if is_coming(p.coming):
            ask(p.coming, rows * bands * columns * t.k)
        any_tile(p, rows, <int> ((columns + VL - 1) // VL), t)
        t.b += sliver_stride(t.k) if packed and columns == NR else columns
        t.c += columns
        if t.start != NULL:
            t.start += columns
        j += columns


cdef inline int64_t reals_of_band(const Product *p, int64_t rows, int64_t steps, bint copied) noexcept nogil:
    """How many numbers of a, or places of its copy, a band of rows takes for a chain of so many steps."""
    if not copied:
        return rows * steps
    if p.spread:
        return rows * steps * VL
    return steps * BAND_STEP if copies_columns(p) else rows * BAND_ROW


cdef inline bint copies_columns(const Product *p) noexcept nogil:
    """Whether a copied band has the rows of a step side by side, as a turned a has them, rather than a row's steps."""
    return p.a.row == 1 and not p.rounded and not p.spread


cdef inline bint pays_by_columns(const Product *p, int64_t steps) noexcept nogil:
    """Whether several bands had better share a part of b. With many columns, not where a does not fit into the
    second-level cache, nor where they do little but store rows of c, which memory likes to be long."""
    return p.n <= 4 * NR or p.m * steps <= BY_COLUMNS_A_REALS and steps >= BY_COLUMNS_STEPS


cdef inline int64_t bands_together(const Product *p, const Tile *t, int64_t rows, int64_t left, int64_t bands,
                                   bint copied) noexcept nogil:
    """How many bands of `rows` rows to compute by columns: one, unless their tiles read and write c where it lies."""
    cdef int64_t equal = left - (rows - 1) * bands  # so many of them have as many rows
    cdef int64_t each = max(reals_of_band(p, rows, t.k, copied), <int64_t> 1), most = 1
    if is_direct(p, t) and p.n <= NR:  # the epilogue will find them in the first-level cache
        most = L1_REALS // (rows * p.n)
    elif BY_COLUMNS and is_direct(p, t) and widest(rows) == NV and pays_by_columns(p, t.k):
        most = min(<int64_t> BY_COLUMNS, BY_COLUMNS_REALS // max(rows * t.k, 1))
    if copied:
        most = min(most, COPIED_REALS // each)
    most = min(max(most, <int64_t> 1), equal)
    return equal // ((equal + most - 1) // most)


cdef inline int64_t most_rows(const Product *p, bint packed, bint copied) noexcept nogil:
    """How many rows a tile has at most."""
    cdef int64_t most = near_mr if packed or sliver_reals(p.n, p.k) <= NEAR_REALS else MR
    if NR < p.n <= 2 * NR + VL and joins_last(TRIPLE_ROWS, NR + p.n % NR):
        most = TRIPLE_ROWS  # of more columns, those of the last tile are too few to pay for narrower bands
    if fits_half(p.n):
        most = MR  # such short bursts of stores stop nothing, and seven chains of halves are too few
    if p.n <= VL and not copied and p.a.column == 1 and shares_sets(p.a.row):
        most = min(most, <int64_t> SHARING_ROWS)  # with one vector a row, little time hides what a's rows push out
    return most


cdef struct Copy:
    # Where bands of a are copied to.
    real *data             # NULL: they are read where they lie
    int64_t first, last    # it holds a's rows first ... last - 1, if a single band of columns was copied


cdef inline void place_a(const Product *p, Tile *t, int64_t i, int64_t rows, int64_t bands, int64_t step,
                         int64_t steps, Copy *copy) noexcept nogil:
    """Points the tiles at a's part for some bands and the chain of `steps` that begins at `step`, copied or not."""
    cdef const real *a = p.a.data + i * p.a.row + step * p.a.column
    t.a = a
    t.a_row = p.a.row
    t.a_step = p.a.column
    t.a_next = rows * p.a.row
    if copy.data == NULL:
        return
    t.a = copy.data
    t.a_next = reals_of_band(p, rows, t.k, True)
    if p.spread:
        t.a_row, t.a_step = VL, rows * VL
    elif copies_columns(p):
        t.a_step = BAND_STEP
    else:
        t.a_row, t.a_step = BAND_ROW, 1
    if bands > 1 or not copies_columns(p):
        copy_bands(p, copy.data, t.a_next, a, rows, bands, steps, p.m - i)
        copy.last = 0
        return
    if i + rows > copy.last:  # a step's rows are neighbours: those of the next band come along, if they fit
        copy.first, copy.last = i, min(i + MR, p.m)
        copy_steps(copy.data, a, p.a.column, steps, copy.last - i, p.m - i)
    t.a += i - copy.first


cdef inline void copy_bands(const Product *p, real *copy, int64_t apart, const real *a, int64_t rows, int64_t bands,
                            int64_t steps, int64_t readable) noexcept nogil:
    """Bands of `rows` rows, one after the other; of a turned a, which has so many `readable` rows from there on, some
    steps of all bands at a time: they share cache lines."""
    cdef int64_t band, some
    if copies_columns(p):
        while steps > 0:
            some = min(steps, <int64_t> STEPS_TOGETHER)
            for band in range(bands):
                copy_steps(copy + band * apart, a + band * rows, p.a.column, some, rows, readable - band * rows)
            copy += some * BAND_STEP
            a += some * p.a.column
            steps -= some
        return
    for band in range(bands):
        if p.rounded:
            copy_rounded(copy, BAND_ROW, a, p.a.row, p.a.column, rows, steps)
        elif p.spread:
            copy_spread(copy, a, p.a.row, p.a.column, rows, steps)
        else:
            copy_rows(copy, BAND_ROW, a, p.a.row, rows, steps)
        copy += apart
        a += rows * p.a.row

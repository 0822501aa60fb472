# How one thread computes its part of a product: blocks of columns, chains of steps, bands of rows and rows of tiles,
# what is packed on the way, and the epilogue of the rows that are finished.


# ------------------------------------------------------------------------------------------------------- blocks


cdef inline int64_t chain_length(int64_t k) noexcept nogil:
    return min(k, <int64_t> KCHAIN)


cdef inline int64_t block_columns(int64_t k, int64_t reals) noexcept nogil:
    """How many columns of b are worked on at a time: a chain of all of them is a block of so many reals at most."""
    cdef int64_t sliver = max(chain_length(k), <int64_t> 1) * NR
    return max(<int64_t> 1, reals // sliver) * NR


cdef inline int64_t block_of_each(int64_t n_threads) noexcept nogil:
    """How large a packed block may be: threads share the cache that holds wide ones."""
    return max(<int64_t> BLOCK_REALS, block_reals // n_threads)


cdef inline int64_t sliver_reals(int64_t n, int64_t k) noexcept nogil:
    """Numbers in the slivers of n columns, or of as many as make a block."""
    return min((n + NR - 1) // NR * NR, block_columns(k, BLOCK_REALS)) * chain_length(k)


cpdef int64_t product_scratch(int64_t m, int64_t n, int64_t k, int64_t n_threads) noexcept nogil:
    """Bytes of scratch memory that each thread of an m x n x k product needs, in any layout; a smaller one needs no
    more, and all threads together have enough for one that does everything.

    It holds the slivers of a block, of which there are no more than fit into one, whatever k is.
    """
    cdef int64_t slivers = (max(m, n) + NR - 1) // NR, block = block_of_each(n_threads)
    if k <= KCHAIN and slivers * NR * k <= STACK_REALS:  # one chain, and the stack holds what is packed
        return 0
    cdef int64_t padded = block // (4096 // <int64_t> sizeof(real))  # those that are 4096 bytes or more
    cdef int64_t reals = min(slivers * (NR * chain_length(k) + SLIVER_PADDING), block + padded * SLIVER_PADDING)
    return (COPIED_REALS + reals) * sizeof(real)


cpdef int64_t rounded_scratch(int64_t m, int64_t n, int64_t k, int64_t n_threads) noexcept nogil:
    """The same for a product of rounded numbers, which are copied in any case."""
    return max(product_scratch(m, n, k, n_threads), <int64_t> (COPIED_REALS * sizeof(real)))


cdef inline bint packs_b(const Product *p) noexcept nogil:
    """Whether b is packed. It must be where the vectors of a row are not contiguous; elsewhere it pays where many rows
    use a block that the tiles do not read fast enough where it lies (by columns: that would not stay in the first-level
    cache), or some rows use a b that comes from afar. Rounded numbers are always packed; a kept b is already."""
    if p.kept != NULL:
        return False
    if p.b.column != 1 or p.rounded:
        return True
    if p.m >= PACKING_ROWS:
        if BY_COLUMNS and p.n > NR and crowds(p.b.row, chain_length(p.k)):
            return True
        if sliver_reals(p.n, p.k) > packing_reals and (shares_sets(p.b.row) or p.m > last_in_place):
            return True
        if straddles(p) and p.m >= STRADDLING_ROWS and p.k * p.n > LARGE_STRADDLING_REALS:
            return True
    return p.k * p.n > (large_reals if p.m >= SEVERAL_ROWS else far_reals) and p.m > streamed_rows(p)


cdef inline bint straddles(const Product *p) noexcept nogil:
    """Whether b's rows begin anywhere in a cache line, on a processor for which it was measured what that changes."""
    return halved and near_l3 and p.b.row % VL != 0


cdef inline bint shares_lines(const Product *p) noexcept nogil:
    """Whether tiles of one row, side by side, would read many cache lines twice, and not find them in a near cache the
    second time."""
    return (straddles(p) and p.m == 1 and p.n >= STRADDLING_COLUMNS
            and STRADDLING_REALS < p.k * p.n <= far_reals)


cdef inline int64_t streamed_rows(const Product *p) noexcept nogil:
    """Up to how many rows read b row after row, rather than in tiles of columns: where it comes from afar, or where the
    second-level cache does not hold it and parts of its rows would have to share sets. Where threads share the cache
    that it comes from, few rows look at what all of them read."""
    cdef int64_t reals = p.k * p.n
    if reals > memory_reals:
        return memory_streamed_rows
    if reals > far_reals:
        return sharing_streamed_rows if shares_sets(p.b.row) else most_streamed_rows
    if shares_lines(p):
        return 1
    if far_is_shared and p.reals_of_b > far_reals or whole_vectors and reals > L2_REALS and shares_sets(p.b.row):
        return LOADING_ROWS
    return 0


cdef inline bint packs_a(const Product *p) noexcept nogil:
    """Whether bands of a are copied: where many tiles use a band that would share few sets of the cache, and where they
    are rounded."""
    if p.rounded:
        return True
    if p.n < 4 * NR or sliver_reals(p.n, p.k) <= STACK_REALS:
        return False
    return p.a.row == 1 or p.a.column == 1 and shares_sets(p.a.row)


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


cdef inline void any_tile(const Product *p, int rows, int vectors, const Tile *t) noexcept nogil:
    if p.rounded and in_pairs:
        run_pairs(rows, vectors, t)
    elif vectors == 1 and fits_half(t.lanes):
        run_halves(rows, t)
    else:
        run_tile(rows, vectors, t)


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
    if ahead != NULL:
        for number in range(tiles):
            fetch(ahead, number, tiles)
            run_tiles(p, t, rows, width, VL, 1, packed)
    elif tiles > 0:
        run_tiles(p, t, rows, width, VL, tiles, packed)
    while rest > 0:
        columns = next_columns(rest, width * VL)
        vectors = (columns + VL - 1) // VL
        run_tiles(p, t, rows, <int> vectors, columns - (vectors - 1) * VL, 1, packed)
        rest -= columns


cdef void bands_by_columns(const Product *p, Tile *t, int rows, int64_t bands, bint packed) noexcept nogil:
    """One chain of several bands of as many rows; t is at their first tile. All of them use a column of tiles' part of
    b before the next column's is read."""
    cdef int64_t j = 0, columns
    t.tiles = bands
    t.b_next = 0
    t.start_next = rows * t.start_row
    t.c_next = rows * t.c_row
    while j < p.n:
        columns = next_columns(p.n - j, NR)
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
    return steps * BAND_STEP if copies_columns(p) else rows * BAND_ROW


cdef inline bint copies_columns(const Product *p) noexcept nogil:
    """Whether a copied band has the rows of a step side by side, as a turned a has them, rather than a row's steps."""
    return p.a.row == 1 and not p.rounded


cdef inline int64_t bands_together(const Product *p, const Tile *t, int64_t rows, int64_t left, int64_t bands,
                                   bint copied) noexcept nogil:
    """How many bands of `rows` rows to compute by columns: one, unless their tiles read and write c where it lies."""
    cdef int64_t equal = left - (rows - 1) * bands  # so many of them have as many rows
    cdef int64_t each = max(reals_of_band(p, rows, t.k, copied), <int64_t> 1), most = 1
    if is_direct(p, t) and p.n <= NR:  # the epilogue will find them in the first-level cache
        most = L1_REALS // (rows * p.n)
    elif BY_COLUMNS and is_direct(p, t) and widest(rows) == NV and pays_by_columns(p, t.k):
        most = min(<int64_t> BY_COLUMNS, BY_COLUMNS_REALS // each)
    if copied:
        most = min(most, COPIED_REALS // each)
    most = min(max(most, <int64_t> 1), equal)
    return equal // ((equal + most - 1) // most)


cdef inline bint pays_by_columns(const Product *p, int64_t steps) noexcept nogil:
    """Whether several bands had better share a part of b. With many columns, not where a does not fit into the
    second-level cache, nor where they do little but store rows of c, which memory likes to be long."""
    return p.n <= 4 * NR or p.m * steps <= BY_COLUMNS_A_REALS and steps >= BY_COLUMNS_STEPS


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
    if copies_columns(p):
        t.a_step = BAND_STEP
    else:
        t.a_row, t.a_step = BAND_ROW, 1
    if bands > 1 or not copies_columns(p):
        copy_bands(p, copy.data, t.a_next, a, rows, bands, steps)
        copy.last = 0
        return
    if i + rows > copy.last:  # a step's rows are neighbours: those of the next band come along, if they fit
        copy.first, copy.last = i, min(i + MR, p.m)
        copy_rows(copy.data, BAND_STEP, a, p.a.column, steps, copy.last - i)
    t.a += i - copy.first


cdef inline void copy_bands(const Product *p, real *copy, int64_t apart, const real *a, int64_t rows, int64_t bands,
                            int64_t steps) noexcept nogil:
    """Bands of `rows` rows, one after the other."""
    cdef int64_t band
    for band in range(bands):
        if p.rounded:
            copy_rounded(copy, BAND_ROW, a, p.a.row, p.a.column, rows, steps)
        elif p.a.row == 1:
            copy_rows(copy, BAND_STEP, a, p.a.column, steps, rows)
        else:
            copy_rows(copy, BAND_ROW, a, p.a.row, rows, steps)
        copy += apart
        a += rows * p.a.row


cdef inline int64_t most_rows(const Product *p, bint packed, bint copied) noexcept nogil:
    """How many rows a tile has at most."""
    cdef int64_t most = near_mr if packed or sliver_reals(p.n, p.k) <= NEAR_REALS else MR
    if fits_half(p.n):
        most = MR  # such short bursts of stores stop nothing, and seven chains of halves are too few
    if p.n <= VL and not copied and p.a.column == 1 and shares_sets(p.a.row):
        most = min(most, <int64_t> SHARING_ROWS)  # with one vector a row, little time hides what a's rows push out
    return most


cdef void one_chain(const Product *p, Tile *t, int64_t step, int64_t steps, bint packed, real *copy) noexcept nogil:
    """The chain of `steps` that begins at `step`, some bands after others; t.b is in place. The epilogue follows a
    band's last chain."""
    cdef int64_t most = most_rows(p, packed, copy != NULL)
    cdef int64_t bands = (p.m + most - 1) // most, i = 0, rows, together
    cdef const real *b = t.b
    cdef bint asks = packed and bands > 1 and p.m * p.k > L1_REALS  # for a's next band, which is not in that cache
    cdef Ahead ahead
    cdef Copy copied
    copied.data, copied.last = copy, 0
    t.start = NULL
    t.start_row = p.start.row
    t.c_row = p.sum.row
    while bands > 0:
        rows = (p.m - i + bands - 1) // bands  # the bands that are left share the rows that are left
        t.b = b
        t.c = p.sum.data + i * p.sum.row
        if p.start.data != NULL and not t.add:
            t.start = p.start.data + i * p.start.row
        together = bands_together(p, t, rows, p.m - i, bands, copy != NULL)
        if p.n <= NR and is_coming(p.coming):
            together = min(together, <int64_t> ASKING_BANDS)
        place_a(p, t, i, rows, together, step, steps, &copied)
        if together > 1:
            bands_by_columns(p, t, <int> rows, together, packed)
        else:
            if is_coming(p.coming):
                ask(p.coming, rows * p.n * t.k)
            if asks:
                ahead.a = p.a.data + (i + rows) * p.a.row + step * p.a.column
                ahead.rows, ahead.row, ahead.column, ahead.steps = rows, p.a.row, p.a.column, steps
            one_band(p, t, <int> rows, packed, &ahead if asks else NULL)
        if p.epilogue != NO_EPILOGUE and step + steps == p.k:
            finish(p, i, rows * together)
        i += rows * together
        bands -= together


cdef void one_block(const Product *p, real *slivers, real *copy) noexcept nogil:
    """All chains of some columns. `slivers` is where b is packed, unless it is kept so, `copy` where bands of a are
    copied to; NULL: they are read where they lie."""
    cdef Tile t
    cdef int64_t step = 0, steps
    cdef bint packed = slivers != NULL or p.kept != NULL
    t.add = p.add
    t.factor = p.factor
    t.b_step = NR if packed else p.b.row
    while True:
        steps = chain_length(p.k - step)
        t.k = rounded_steps(steps) if p.rounded else steps
        if p.kept != NULL:
            t.b = kept_slivers(p, step, steps)
        elif packed:
            pack_slivers(slivers, p.b.data + step * p.b.row, p.b.row, p.b.column, steps, p.n, p.rounded)
            t.b = slivers
        else:
            t.b = p.b.data + step * p.b.row
        one_chain(p, &t, step, steps, packed, copy)
        t.add = True
        step += steps
        if step >= p.k:
            return


cdef inline bint is_turned(const Product *p) noexcept nogil:
    """Whether few rows read a b whose columns are contiguous."""
    return (p.m <= TURNED_ROWS and p.n > FEW and p.b.row == 1 and p.b.column != 1 and p.kept == NULL and not p.add
            and not p.rounded)


cdef void few_rows(const Product *p) noexcept nogil:
    """A product of few rows and b's contiguous columns, which are turned on the way."""
    cdef real buffer[TURNED_ROWS * TURNED_COLUMNS]
    cdef bint direct = p.sum.column == 1
    cdef int64_t j = 0, columns = p.n if direct else TURNED_COLUMNS
    cdef Product part
    cdef Tile t
    while j < p.n:
        part = p[0]
        narrow(&part, 0, p.m, j, min(columns, p.n - j))
        t.a, t.a_row, t.a_step = part.a.data, part.a.row, part.a.column
        t.b, t.k = part.b.data, part.k
        t.c, t.c_row = part.sum.data, part.sum.row
        if not direct:
            t.c, t.c_row = buffer, TURNED_COLUMNS
        t.start = part.start.data
        if t.start != NULL and t.start != t.c:
            read_block(t.c, t.c_row, t.start, part.start.row, part.start.column, part.m, part.n)
        run_turned(<int> part.m, &t, part.n, part.b.column)
        if not direct:
            write_block(part.sum.data, part.sum.row, part.sum.column, buffer, TURNED_COLUMNS, part.m, part.n)
        j += columns
    if p.epilogue != NO_EPILOGUE:
        finish(p, 0, p.m)


cdef inline void stream_band(const Product *p, Tile *t, int64_t row, int rows, int64_t step) noexcept nogil:
    """Some steps of a chain of a band that begins at `row`."""
    t.a = p.a.data + row * p.a.row + step * p.a.column
    t.b = p.b.data + step * p.b.row
    t.c, t.c_row = p.sum.data + row * p.sum.row, p.sum.row
    t.start, t.start_row = from_element(p.start, row, 0).data, p.start.row
    one_band(p, t, rows, False, NULL)


cdef void stream_rows(const Product *p, real *part) noexcept nogil:
    """A product of few rows and a large b, which is read along its rows, some at a time, as memory likes it.

    A chain goes on where it stopped: its sum so far lies in c, or in `part` from the second chain on.
    """
    cdef Product q = p[0]
    cdef Tile t
    cdef int64_t bands = (p.m + MR - 1) // MR, steps = SHARED_STEPS if bands > 1 or shares_lines(p) else STREAMED_STEPS
    cdef int64_t step = 0, end, band, row, j
    t.add = False
    t.a_row, t.a_step = p.a.row, p.a.column
    t.b_step = p.b.row
    while step < p.k:
        end = step + chain_length(p.k - step)
        if step > 0:
            q.start.data = NULL
            q.sum.data, q.sum.row = part, p.n
        while step < end:
            t.k = min(steps, end - step)
            for band in range(bands):
                row = p.m * band // bands
                stream_band(&q, &t, row, <int> (p.m * (band + 1) // bands - row), step)
            q.start = q.sum
            step += t.k
        if end > chain_length(p.k):
            for row in range(p.m):
                for j in range(p.n):
                    p.sum.data[row * p.sum.row + j] += part[row * p.n + j]
    if p.epilogue != NO_EPILOGUE:
        finish(p, 0, p.m)


cdef inline bint is_streamed(const Product *p) noexcept nogil:
    """Whether rows of b are read one after the other."""
    return (p.kept == NULL and p.m <= streamed_rows(p) and p.b.column == 1 and p.sum.column == 1 and not p.add
            and not p.rounded and (p.start.data == NULL or p.start.column == 1))


cdef inline int64_t columns_before_line(const Product *p) noexcept nogil:
    """How many columns come first, on their own, so that none of the others' vectors lies in two cache lines.

    A product of few rows does little but load b, one of few steps little but store c. 0 where it does not help: of few
    columns the first ones take too long on their own, and rows of other lengths begin elsewhere.
    """
    cdef bint storing = p.k <= STORING_STEPS
    cdef const Matrix *x = &p.sum if storing else &p.b
    if x.column != 1 or x.row % VL != 0 or p.n < (8 * NR if storing else loading_columns):
        return 0
    if p.kept != NULL or not storing and (p.m > LOADING_ROWS or p.rounded):
        return 0
    return before_line(x.data)


cdef void solve(Product *p, char *scratch) noexcept nogil:
    """One thread's product, block after block of columns."""
    cdef vf stack[STACK_VECTORS + STACK_PADDING_VECTORS]
    cdef real *copy = NULL
    cdef real *slivers = NULL
    cdef Product block
    cdef int64_t columns = block_columns(p.k, p.block), j = 0, width
    cdef bint streamed
    straighten(p)
    if is_turned(p):
        few_rows(p)
        return
    streamed = is_streamed(p)
    if packs_a(p):
        copy = <real *> scratch
    if packs_b(p):
        slivers = <real *> scratch + COPIED_REALS
        if sliver_reals(p.n, p.k) <= STACK_REALS:
            slivers = <real *> stack
    elif first_in_place <= p.m <= last_in_place:
        columns = block_columns(p.k, IN_PLACE_BLOCK_REALS)
    if streamed:
        columns = min(<int64_t> STREAMED_COLUMNS, STREAMED_REALS // p.m // NR * NR)
    width = columns_before_line(p)
    if width == 0:
        width = columns
    while j < p.n:
        block = p[0]
        narrow(&block, 0, p.m, j, min(width, p.n - j))
        if streamed:
            stream_rows(&block, <real *> scratch)
        else:
            one_block(&block, slivers, copy)
        j += width
        width = columns


# ----------------------------------------------------------------------------------------------------- epilogue


cdef inline void apply_run(const Product *p, real *c, const real *sum, const real *aux, int64_t n) noexcept nogil:
    """The epilogue on n contiguous numbers."""
    if p.epilogue == FORWARD:
        unary_run(p.code, p.numbers, c, sum, n)
    else:
        slope_run(p.code, p.numbers, c, sum, aux, n)


cdef void apply_strided(const Product *p, real *c, const real *sum, const real *aux) noexcept nogil:
    """The epilogue on one strided row."""
    cdef real sums[CHUNK]
    cdef real others[CHUNK]
    cdef int64_t j = 0, n
    while j < p.n:
        n = min(<int64_t> CHUNK, p.n - j)
        read_block(sums, 0, sum + j * p.sum.column, 0, p.sum.column, 1, n)
        if aux != NULL:
            read_block(others, 0, aux + j * p.aux.column, 0, p.aux.column, 1, n)
        apply_run(p, sums, sums, others, n)
        write_block(c + j * p.c.column, 0, p.c.column, sums, 0, 1, n)
        j += n


cdef inline void finish_rows(const Product *p, int64_t i, int64_t rows) noexcept nogil:
    """The epilogue on some rows, each contiguous or not."""
    cdef real *c = p.c.data + i * p.c.row
    cdef const real *sum = p.sum.data + i * p.sum.row
    cdef const real *aux = NULL
    cdef bint contiguous = p.c.column == 1 and p.sum.column == 1 and (p.aux.data == NULL or p.aux.column == 1)
    cdef int64_t row
    if p.aux.data != NULL:
        aux = p.aux.data + i * p.aux.row
    if contiguous and p.c.row == p.n and p.sum.row == p.n and (aux == NULL or p.aux.row == p.n):
        apply_run(p, c, sum, aux, rows * p.n)
        return
    for row in range(rows):
        if contiguous:
            apply_run(p, c, sum, aux, p.n)
        else:
            apply_strided(p, c, sum, aux)
        c += p.c.row
        sum += p.sum.row
        if aux != NULL:
            aux += p.aux.row


cdef void finish(const Product *p, int64_t i, int64_t rows) noexcept nogil:
    """The epilogue on some finished rows, while they are in a near cache; on their columns, if these are
    contiguous, as they are once the sides have been exchanged."""
    cdef Product part
    if p.c.column != 1 and p.c.row == 1 and p.sum.row == 1 and (p.aux.data == NULL or p.aux.row == 1):
        part = p[0]
        narrow(&part, i, rows, 0, p.n)
        exchange_sides(&part)
        finish_rows(&part, 0, part.m)
    else:
        finish_rows(p, i, rows)

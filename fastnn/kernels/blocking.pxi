# How one thread computes its part of a product: blocks of columns, chains of steps and bands of rows; or, of few rows,
# along the rows of b, or its columns turned on the way; or, of one step, along the rows of c.


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


cdef inline int64_t turned_columns(const Product *p) noexcept nogil:
    """How many columns turned_product takes at a time."""
    cdef int64_t most, parts
    if p.m <= TURNED_ROWS and p.sum.column == 1:
        return p.n
    most = min(<int64_t> TURNED_COLUMNS, max(NEAR_REALS // max(p.k, 1), <int64_t> NR))
    if p.n <= most:
        return p.n
    parts = (p.n + most - 1) // most
    return ((p.n + parts - 1) // parts + VL - 1) // VL * VL


cdef void turned_product(const Product *p, real *copy) noexcept nogil:
    """A product with b's contiguous columns, which are turned on the way: once for each band of rows.

    Several bands use some columns before the next ones. A band of a goes to `copy` if two of its rows share sets, and
    would push b's columns out of the first-level cache, which then do so, too.
    """
    cdef real buffer[TURNED_ROWS * (TURNED_COLUMNS + VL)]
    cdef bint direct = p.sum.column == 1, near = p.reals_of_b <= MEMORY_REALS
    cdef int64_t bands = (p.m + TURNED_ROWS - 1) // TURNED_ROWS, columns = turned_columns(p), width, band, row, j = 0
    cdef int64_t copy_row = ((p.k + VL - 1) // VL | 1) * VL
    cdef bint copies = (p.m > 1 and p.a.column == 1 and shares_sets(2 * p.a.row)
                        and TURNED_ROWS * copy_row <= turned_room(p))
    cdef Product part
    cdef Tile t
    while j < p.n:
        width = columns if p.n - j >= columns + VL else p.n - j  # a rest that fills no vector takes as long as one
        for band in range(bands):
            part = p[0]
            row = p.m * band // bands
            narrow(&part, row, p.m * (band + 1) // bands - row, j, width)
            if is_coming(p.coming):
                ask(p.coming, part.m * part.n * part.k)
            t.a, t.a_row, t.a_step = part.a.data, part.a.row, part.a.column
            if copies:
                if bands > 1 or j == 0:
                    copy_rows(copy, copy_row, part.a.data, part.a.row, part.m, part.k)
                t.a, t.a_row = copy, copy_row
            t.b, t.k = part.b.data, part.k
            t.c, t.c_row = part.sum.data, part.sum.row
            if not direct:
                t.c, t.c_row = buffer, TURNED_COLUMNS + VL
            t.start = part.start.data
            if t.start != NULL and t.start != t.c:
                read_block(t.c, t.c_row, t.start, part.start.row, part.start.column, part.m, part.n)
            run_turned(<int> part.m, &t, part.n, part.b.column, near)
            if not direct:
                write_block(part.sum.data, part.sum.row, part.sum.column, buffer, TURNED_COLUMNS + VL, part.m,
                            part.n)
            if p.epilogue != NO_EPILOGUE:
                finish(&part, 0, part.m)
        j += width


cdef inline void stream_band(const Product *p, Tile *t, int64_t row, int rows, int64_t step) noexcept nogil:
    """Some steps of a chain of a band that begins at `row`."""
    t.a = p.a.data + row * p.a.row + step * p.a.column
    t.b = p.b.data + step * p.b.row
    t.c, t.c_row = p.sum.data + row * p.sum.row, p.sum.row
    t.start, t.start_row = from_element(p.start, row, 0).data, p.start.row
    one_band(p, t, rows, False, NULL)


cdef void close_chain(const Product *p, const real *part, int64_t part_row, bint first) noexcept nogil:
    """Adds a chain's sums to those of the chains before it, if there are any."""
    cdef int64_t row, j
    if first:
        copy_rows(p.sum.data, p.sum.row, part, part_row, p.m, p.n)
        return
    for row in range(p.m):
        for j in range(p.n):
            p.sum.data[row * p.sum.row + j] += part[row * part_row + j]


cdef void stream_rows(const Product *p, int64_t steps, real *part) noexcept nogil:
    """A product of few rows and a large b, which is read along its rows, `steps` at a time, as memory likes it.

    A chain goes on where it stopped: its sum so far lies in `part`, whose rows begin at cache lines and share no sets;
    or, the first chain's, in c, if that is one row, or with AVX-512, for which no gain by `part` was measured.
    """
    cdef Product q = p[0]
    cdef Tile t
    cdef int64_t bands = (p.m + MR - 1) // MR, part_row = spaced((p.n + NR - 1) // NR * NR)
    cdef bint one_row = p.m == 1, first
    cdef int64_t step = 0, end, band, row, head = columns_before_line(p) % VL if one_row else 0
    t.add = False
    t.a_row, t.a_step = p.a.row, p.a.column
    t.b_step = p.b.row
    while step < p.k:
        end = step + chain_length(p.k - step)
        first = step == 0
        if not first:
            q.start.data = NULL
        if not (first and (one_row or LEVEL == 4)):
            q.sum.data, q.sum.row = part, part_row
        while step < end:
            t.k = min(steps, end - step)
            if one_row:
                continue_row(&q, step, t.k, head)
            else:
                for band in range(bands):
                    row = p.m * band // bands
                    stream_band(&q, &t, row, <int> (p.m * (band + 1) // bands - row), step)
            q.start = q.sum
            step += t.k
        if q.sum.data == part:
            close_chain(p, part, part_row, first)
    if p.epilogue != NO_EPILOGUE:
        finish(p, 0, p.m)


cdef void solve(Product *p, char *scratch) noexcept nogil:
    """One thread's product, block after block of columns."""
    cdef vf stack[STACK_VECTORS + STACK_PADDING_VECTORS]
    cdef real *copy = NULL
    cdef real *slivers = NULL
    cdef Product block
    cdef int64_t columns = block_columns(p.k, p.block), j = 0, width, steps = 0
    cdef bint streamed
    straighten(p)
    if is_turned(p):
        turned_product(p, <real *> scratch)
        return
    if stores_rows(p):
        store_rows(p)
        return
    streamed = is_streamed(p)
    if packs_a(p):
        copy = <real *> scratch
        p.spread = SPREADS and not p.rounded and not streamed
    if packs_b(p):
        slivers = <real *> scratch + COPIED_REALS
        if sliver_reals(p.n, p.k) <= STACK_REALS:
            slivers = <real *> stack
    elif first_in_place <= p.m <= last_in_place:
        columns = block_columns(p.k, IN_PLACE_BLOCK_REALS)
    if streamed:
        columns = min(<int64_t> STREAMED_COLUMNS, STREAMED_REALS // p.m // NR * NR)
        steps = streamed_steps(p)
    width = 0 if streamed and p.m == 1 else columns_before_line(p)
    if width == 0:
        width = columns
    while j < p.n:
        block = p[0]
        narrow(&block, 0, p.m, j, min(width, p.n - j))
        if streamed:
            stream_rows(&block, steps, <real *> scratch)
        else:
            one_block(&block, slivers, copy)
        j += width
        width = columns

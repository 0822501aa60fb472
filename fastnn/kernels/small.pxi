# Small products: one chain, c in the first-level cache and no more columns than a tile. What follows from shapes and
# addresses is found out once, when they are bound; a step runs one line of tiles, or two of unequal rows, and the
# epilogue. The arithmetic, and so the bits, are those of bands.pxi.

cdef enum:
    SMALL_WORK = 512       # multiply-adds of a vector
    SMALL_TURN = 64        # a b of so many numbers whose columns, not rows, are contiguous is turned in each run


cdef struct SmallProduct:
    Product p
    Tile tile[2]           # bands of rows[0] rows and bands of rows[1]; the second may have none
    int rows[2]
    int vectors
    bint is_vector         # one row and one vector, which the epilogue finds and leaves contiguous, ...
    int64_t stored         # ... and how many of its elements are stored


cdef inline bint is_small(const Product *p) noexcept nogil:
    """Whether one line of tiles computes it, in one chain, and reads and writes c where it lies."""
    cdef int64_t most = widest(p.m) * VL if p.m <= near_mr else NR
    if p.m == 0 or p.n == 0 or p.n > most and not joins_last(TRIPLE_ROWS, p.n):
        return False
    return (p.k <= KCHAIN and p.k * p.n <= L1_REALS and p.m * p.n <= L1_REALS and p.sum.column == 1
            and (p.b.column == 1 or p.k * p.n <= SMALL_TURN) and (p.start.data == NULL or p.start.column == 1))


cdef inline void lay_out(SmallProduct *small, int part, int rows, int64_t bands, int64_t i) noexcept nogil:
    """Some bands of as many rows, from row i on."""
    cdef const Product *p = &small.p
    cdef Tile *t = &small.tile[part]
    small.rows[part] = rows
    t.k = p.k
    t.a, t.a_row, t.a_step = p.a.data + i * p.a.row, p.a.row, p.a.column
    t.b, t.b_step = p.b.data, p.b.row if p.b.column == 1 else p.n
    t.b_apart = NR
    t.start, t.start_row = NULL, p.start.row
    if p.start.data != NULL:
        t.start = p.start.data + i * p.start.row
    t.c, t.c_row = p.sum.data + i * p.sum.row, p.sum.row
    t.add, t.factor = p.add, p.factor
    t.lanes = p.n - (small.vectors - 1) * VL
    t.tiles = bands
    t.a_next, t.b_next, t.start_next, t.c_next = rows * p.a.row, 0, rows * p.start.row, rows * p.sum.row


cdef inline bint choose_sides(Product *p) noexcept nogil:
    """Exchanges the sides if that is better; false if p is then not small. Where only the worse side is, and there is
    little to do, it is the better one after all: turning b or c has a price of its own."""
    cdef Product q = p[0]
    straighten(p)
    if better_exchanged(&q):
        exchange_sides(&q)
        straighten(&q)
        if is_small(&q):
            p[0] = q
            return True
        if p.m * p.k * ((p.n + VL - 1) // VL) > SMALL_WORK:
            return False
    return is_small(p)


cdef inline bint make_small(SmallProduct *small) noexcept nogil:
    """Lays out the tiles for small.p, if it is small."""
    cdef Product *p = &small.p
    cdef int64_t most, bands, rows, full
    if not choose_sides(p):
        return False
    most = most_rows(p, False, False)
    bands = (p.m + most - 1) // most
    rows = (p.m + bands - 1) // bands
    full = p.m - (rows - 1) * bands  # the others have a row less
    small.vectors = <int> ((p.n + VL - 1) // VL)
    lay_out(small, 0, <int> rows, full, 0)
    lay_out(small, 1, <int> rows - 1, bands - full, full * rows)
    small.is_vector = (p.m == 1 and small.vectors == 1 and p.c.column == 1
                       and (p.aux.data == NULL or p.aux.column == 1))
    small.stored = p.n
    return True


cdef inline vf times_rows(const real *a, int64_t a_step, const real *b, int64_t b_step, int64_t k, int64_t lanes,
                          vf sum) noexcept nogil:
    """sum + a[0] b[0] + a[1] b[1] + ..., for k rows b of so many numbers."""
    cdef int64_t step
    for step in range(k):
        sum = vfma(vsplat(a[0]), vload_exactly(b, lanes), sum)
        a += a_step
        b += b_step
    return sum


cdef inline vf sum_of_row(const Tile *t, const real *a, vf sum) noexcept nogil:
    """One row and one vector of it: what `tile` computes."""
    return times_rows(a, t.a_step, t.b, t.b_step, t.k, t.lanes, sum)


cdef inline void solve_vector(const Product *p, const Tile *t, int64_t stored) noexcept nogil:
    """A product whose result is a row that fits into one vector: `tile` for it, and the epilogue."""
    cdef vf buffer[1]
    cdef vf sum = vsplat(0)
    if t.start != NULL:
        sum = vload_exactly(t.start, t.lanes)
    sum = sum_of_row(t, t.a, sum)
    if t.add:
        sum = vfma(vsplat(t.factor), sum, vload_exactly(t.c, t.lanes))
    if p.epilogue == NO_EPILOGUE or t.c != p.c.data:
        vstore_exactly(t.c, sum, stored)
    if p.epilogue != NO_EPILOGUE:
        vstore(<real *> buffer, sum)  # a whole vector: the processor hands it on sooner than a part
        apply_run(p, p.c.data, <const real *> buffer, p.aux.data, stored)


cdef inline void solve_small(SmallProduct *small) noexcept nogil:
    cdef real turned[SMALL_TURN]
    cdef const Product *p = &small.p
    if p.b.column != 1:
        turn_small(turned, p)
        small.tile[0].b = small.tile[1].b = turned
    if small.is_vector:
        solve_vector(p, &small.tile[0], small.stored)
        return
    any_tile(p, small.rows[0], small.vectors, &small.tile[0])
    if small.tile[1].tiles > 0:
        any_tile(p, small.rows[1], small.vectors, &small.tile[1])
    if p.epilogue != NO_EPILOGUE:
        finish(p, 0, p.m)


cdef inline void turn_small(real *to, const Product *p) noexcept nogil:
    """b, copied so that its rows are contiguous and follow one another."""
    cdef int64_t i, j
    for i in range(p.k):
        for j in range(p.n):
            to[i * p.n + j] = p.b.data[i * p.b.row + j * p.b.column]


cdef int small_product(const Instruction *instruction, int thread, int n_threads) noexcept nogil:
    """`product`, prepared."""
    solve_small(<SmallProduct *> instruction.form)
    return KERNEL_OK


cdef int small_update(const Instruction *instruction, int thread, int n_threads) noexcept nogil:
    """`product_update`, prepared."""
    cdef SmallProduct *small = <SmallProduct *> instruction.form
    small.tile[0].factor = small.tile[1].factor = update_factor(instruction, instruction.run)
    solve_small(small)
    return KERNEL_OK


cdef inline int64_t room_for(const Instruction *instruction, int i, int64_t n) noexcept nogil:
    """How many elements of operand i, if there is one, an epilogue on n of them may touch."""
    if i >= instruction.n_operands or instruction.operand[i].data == NULL:
        return VL
    return with_padding(&instruction.operand[i], n)


cdef int thin_update(const Instruction *instruction, int thread, int n_threads) noexcept nogil:
    """The same for few rows of one vector."""
    cdef const SmallProduct *small = <const SmallProduct *> instruction.form
    cdef const Tile *t = &small.tile[0]
    cdef const real *a = t.a
    cdef real *c = t.c
    cdef int64_t row, lanes = t.lanes, a_row = t.a_row, c_row = t.c_row
    cdef vf factor = vsplat(update_factor(instruction, instruction.run))
    for row in range(small.p.m):
        vstore_exactly(c, vfma(factor, sum_of_row(t, a, vsplat(0)), vload_exactly(c, lanes)), lanes)
        a += a_row
        c += c_row
    return KERNEL_OK


cdef inline Kernel way_to_update(const SmallProduct *small) noexcept nogil:
    """The kernel for a small update."""
    if small.vectors == 1 and small.p.b.column == 1 and small.p.m * small.p.k <= THIN_WORK:
        return <Kernel> thin_update
    return <Kernel> small_update


cdef Kernel prepare_product(Instruction *instruction, int n_threads) noexcept nogil:
    cdef SmallProduct *small = <SmallProduct *> instruction.form
    read_product(instruction, False, &small.p)
    if n_threads > 1 or not make_small(small):
        return NULL
    if small.p.m == 1:
        small.stored = min(room_for(instruction, 0, small.p.n), room_for(instruction, 1, small.p.n),
                           room_for(instruction, 5, small.p.n))
    return <Kernel> small_product


cdef Kernel prepare_update(Instruction *instruction, int n_threads) noexcept nogil:
    cdef SmallProduct *small = <SmallProduct *> instruction.form
    read_update(instruction, &small.p)
    return way_to_update(small) if n_threads == 1 and make_small(small) else NULL

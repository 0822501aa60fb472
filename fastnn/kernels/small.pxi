# Products that one tile computes: everything that follows from shapes and addresses is found out once, when they are
# bound, and a step runs the tile and the epilogue. The arithmetic, and so the bits, are those of blocking.pxi.

cdef enum:
    SMALL_STEPS = 32       # a b whose columns, not rows, are contiguous is turned for every run: so many steps at most


cdef struct SmallProduct:
    Product p
    Tile tile
    int rows, vectors
    bint is_vector         # one row and one vector, which the epilogue finds and leaves contiguous


cdef inline bint is_one_tile(const Product *p) noexcept nogil:
    """Whether a tile computes it, in one chain, and reads and writes c where it lies."""
    return (0 < p.m <= LOW_MR and 0 < p.n <= widest(p.m) * VL and p.k <= KCHAIN and p.k * p.n <= L1_REALS
            and p.sum.column == 1
            and (p.b.column == 1 or (p.k <= SMALL_STEPS and p.n <= NR))
            and (p.start.data == NULL or p.start.column == 1))


cdef inline bint make_small(SmallProduct *small) noexcept nogil:
    """Lays out the tile for small.p, if one is enough."""
    cdef Product *p = &small.p
    cdef Tile *t = &small.tile
    if better_exchanged(p):
        exchange_sides(p)
    straighten(p)
    if not is_one_tile(p):
        return False
    small.rows = <int> p.m
    small.vectors = <int> ((p.n + VL - 1) // VL)
    small.is_vector = (small.rows == 1 and small.vectors == 1 and p.c.column == 1
                       and (p.aux.data == NULL or p.aux.column == 1))
    t.lanes = p.n - (small.vectors - 1) * VL
    t.tiles = 1
    t.a_next = t.b_next = t.start_next = t.c_next = 0
    t.a, t.a_row, t.a_step = p.a.data, p.a.row, p.a.column
    t.b, t.b_step = p.b.data, p.b.row
    t.start, t.start_row = p.start.data, p.start.row
    t.c, t.c_row = p.sum.data, p.sum.row
    t.k = p.k
    t.add = p.add
    t.factor = p.factor
    return True


cdef inline void solve_vector(const Product *p, const Tile *t) noexcept nogil:
    """A product whose result is a row that fits into one vector: `tile` for it, and the epilogue."""
    cdef vf buffer[1]
    cdef vf sum = vsplat(0)
    cdef const real *a = t.a
    cdef const real *b = t.b
    cdef int64_t step
    if t.start != NULL:
        sum = vload_part(t.start, t.lanes)
    for step in range(t.k):
        sum = vfma(vsplat(a[0]), vload_part(b, t.lanes), sum)
        a += t.a_step
        b += t.b_step
    if t.add:
        sum = vfma(vsplat(t.factor), sum, vload_part(t.c, t.lanes))
    if p.epilogue == NO_EPILOGUE or t.c != p.c.data:
        vstore_part(t.c, sum, t.lanes)
    if p.epilogue != NO_EPILOGUE:
        vstore(<real *> buffer, sum)  # a whole vector: the processor hands it on sooner than a part
        apply_run(p, p.c.data, <const real *> buffer, p.aux.data, t.lanes)


cdef inline void solve_tile(const SmallProduct *small, const Tile *t) noexcept nogil:
    if small.is_vector:
        solve_vector(&small.p, t)
        return
    run_tile(small.rows, small.vectors, t)
    if small.p.epilogue != NO_EPILOGUE:
        finish(&small.p, 0, small.p.m)


cdef inline void solve_small(const SmallProduct *small) noexcept nogil:
    cdef vf turned[SMALL_STEPS * NV]
    cdef const Product *p = &small.p
    cdef Tile tile
    if p.b.column == 1:
        solve_tile(small, &small.tile)
    else:
        tile = small.tile
        turn_small(<real *> turned, p)
        tile.b, tile.b_step = <const real *> turned, NR
        solve_tile(small, &tile)


cdef inline void turn_small(real *to, const Product *p) noexcept nogil:
    """b, copied so that its rows are contiguous, NR numbers apart."""
    cdef int64_t i, j
    for i in range(p.k):
        for j in range(p.n):
            to[i * NR + j] = p.b.data[i * p.b.row + j * p.b.column]


cdef int small_product(const Instruction *instruction, int thread, int n_threads) noexcept nogil:
    """`product`, prepared."""
    solve_small(<const SmallProduct *> instruction.form)
    return KERNEL_OK


cdef int small_update(const Instruction *instruction, int thread, int n_threads) noexcept nogil:
    """`product_update`, prepared."""
    cdef SmallProduct *small = <SmallProduct *> instruction.form
    small.tile.factor = update_factor(instruction)
    solve_small(small)
    return KERNEL_OK


cdef Kernel prepare_product(Instruction *instruction, int n_threads) noexcept nogil:
    cdef SmallProduct *small = <SmallProduct *> instruction.form
    read_product(instruction, &small.p)
    return <Kernel> small_product if n_threads == 1 and make_small(small) else NULL


cdef Kernel prepare_update(Instruction *instruction, int n_threads) noexcept nogil:
    cdef SmallProduct *small = <SmallProduct *> instruction.form
    read_update(instruction, &small.p)
    return <Kernel> small_update if n_threads == 1 and make_small(small) else NULL

# Products that one tile computes: everything that follows from shapes and addresses is found out once, when they are
# bound, and a step runs the tile and the epilogue. The arithmetic, and so the bits, are those of blocking.pxi.

cdef enum:
    SMALL_STEPS = 32       # a b whose columns, not rows, are contiguous is turned for every run: so many steps at most


cdef struct SmallProduct:
    Product p
    Tile tile
    int rows, vectors


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


cdef inline void solve_small(const SmallProduct *small) noexcept nogil:
    cdef vf turned[SMALL_STEPS * NV]
    cdef const Product *p = &small.p
    cdef Tile tile
    if p.b.column == 1:
        run_tile(small.rows, small.vectors, &small.tile)
    else:
        tile = small.tile
        turn_small(<real *> turned, p)
        tile.b, tile.b_step = <const real *> turned, NR
        run_tile(small.rows, small.vectors, &tile)
    if p.epilogue != NO_EPILOGUE:
        finish(p, 0, p.m)


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

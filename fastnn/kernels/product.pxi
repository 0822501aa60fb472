# c[m, n] = f(start + a[m, k] b[k, n]): blocking, threads and the epilogue around the micro-kernel of tile.pxi.
#
# An element is summed in chains of KCHAIN steps of k. Everything here (blocks, threads, packing, exchanging the two
# sides) only decides which element is computed where and from which copy of its operands: never in which order.


cdef struct Matrix:
    real *data             # NULL: absent
    int64_t row, column    # strides in elements


cdef struct Product:
    int64_t m, n, k
    Matrix a, b
    Matrix start           # what the first chain starts from (a bias has rows that coincide); absent: from zero
    Matrix sum             # where the chains are summed: c itself, or z, the output before the activation
    Matrix c
    Matrix aux             # what the slope is taken at
    int epilogue, code
    const double *numbers


cdef enum:
    NO_EPILOGUE, FORWARD, SLOPE
    STACK_REALS = 4096     # slivers of this size are packed on the stack
    CHUNK = 64             # numbers of a strided row that the epilogue takes at a time


# ----------------------------------------------------------------------------------------------------- operands


cdef inline Matrix matrix_of(const Operand *operand) noexcept nogil:
    """An operand as a matrix: leading axes, contiguous where there are several, are its rows."""
    cdef Matrix x
    cdef int last = operand.ndim - 1
    x.data = <real *> operand.data
    if x.data == NULL:
        return x
    x.column = operand.stride[last] if last >= 0 else 0
    x.row = operand.stride[last - 1] if last >= 1 else 0
    return x


cdef inline int64_t rows_of(const Operand *operand) noexcept nogil:
    cdef int64_t rows = 1
    cdef int axis
    for axis in range(operand.ndim - 1):
        rows *= operand.shape[axis]
    return rows


cdef inline Matrix transposed(Matrix x) noexcept nogil:
    cdef Matrix y
    y.data = x.data
    y.row = x.column
    y.column = x.row
    return y


cdef inline Matrix from_element(Matrix x, int64_t i, int64_t j) noexcept nogil:
    """The part of a matrix that begins at (i, j)."""
    if x.data != NULL:
        x.data += i * x.row + j * x.column
    return x


cdef inline void read_product(const Instruction *instruction, Product *p) noexcept nogil:
    cdef const Operand *a = &instruction.operand[2]
    cdef const Operand *bias = &instruction.operand[4]
    p.a = matrix_of(a)
    p.b = matrix_of(&instruction.operand[3])
    p.c = matrix_of(&instruction.operand[0])
    p.aux.data = NULL
    if instruction.n_operands > 5:
        p.aux = matrix_of(&instruction.operand[5])
    p.n = instruction.operand[0].shape[instruction.operand[0].ndim - 1]
    p.k = a.shape[a.ndim - 1]
    p.m = rows_of(a)
    if instruction.integer[0]:
        p.a = transposed(p.a)
        p.m, p.k = p.k, p.m
    if instruction.integer[1]:
        p.b = transposed(p.b)
    p.start.data = NULL
    if instruction.integer[2]:
        p.start = p.c
    elif instruction.n_operands > 4 and bias.data != NULL:
        p.start.data = <real *> bias.data
        p.start.row = 0
        p.start.column = bias.stride[0]
    p.epilogue = <int> instruction.integer[3]
    p.code = <int> instruction.integer[4]
    p.numbers = &instruction.number[0]
    p.sum = matrix_of(&instruction.operand[1])
    if p.epilogue != FORWARD or p.sum.data == NULL:
        p.sum = p.c


cdef inline void exchange_sides(Product *p) noexcept nogil:
    """The same product as c^T = b^T a^T."""
    cdef Matrix a = p.a
    p.a = transposed(p.b)
    p.b = transposed(a)
    p.start = transposed(p.start)
    p.sum = transposed(p.sum)
    p.c = transposed(p.c)
    p.aux = transposed(p.aux)
    p.m, p.n = p.n, p.m


cdef inline bint better_exchanged(const Product *p) noexcept nogil:
    """Vectors lie along n: whether they should lie along m instead, because c does or because n fills few lanes."""
    if p.m == 1:
        return False
    if p.n == 1:
        return True
    return p.sum.column != 1 and p.sum.row == 1


# ------------------------------------------------------------------------------------------------------ threads


cdef void take_part(Product *p, int thread, int n_threads) noexcept nogil:
    """Narrows a product to one thread's part of c: a grid of threads, cut at whole vectors of columns.

    Of all grids the one is taken whose largest part has the least work: its elements, and the packing of its columns,
    which costs as much as PACKING_ROWS rows do.
    """
    cdef int64_t first, last, rows, columns, cost, best = -1
    cdef int across, chosen = 1
    cdef int64_t packing_rows = 8
    for across in range(1, n_threads + 1):
        if n_threads % across == 0:
            rows = (p.m + n_threads // across - 1) // (n_threads // across)
            columns = ((p.n + NR - 1) // NR + across - 1) // across * NR
            cost = (rows + packing_rows) * columns
            if best < 0 or cost < best:
                best = cost
                chosen = across
    share(p.m, 1, thread // chosen, n_threads // chosen, &first, &last)
    narrow(p, first, last - first, 0, p.n)
    share(p.n, NR, thread % chosen, chosen, &first, &last)
    narrow(p, 0, p.m, first, last - first)


cdef inline void narrow(Product *p, int64_t i, int64_t rows, int64_t j, int64_t columns) noexcept nogil:
    p.m = rows
    p.n = columns
    p.a = from_element(p.a, i, 0)
    p.b = from_element(p.b, 0, j)
    p.start = from_element(p.start, i, j)
    p.sum = from_element(p.sum, i, j)
    p.c = from_element(p.c, i, j)
    p.aux = from_element(p.aux, i, j)


# ------------------------------------------------------------------------------------------------------- blocks


cdef inline int64_t chain_length(int64_t k) noexcept nogil:
    return min(k, <int64_t> KCHAIN)


cdef inline int64_t block_columns(int64_t k) noexcept nogil:
    """How many columns of b are worked on at a time, so that a chain of all of them stays in the second-level cache."""
    cdef int64_t sliver = max(chain_length(k), <int64_t> 1) * NR
    return max(<int64_t> 1, BLOCK_REALS // sliver) * NR


def product_scratch(int64_t m, int64_t n, int64_t k):
    """Bytes of scratch memory that a thread of an m x n x k product needs, in any layout."""
    cdef int64_t longer = max(m, n)
    cdef int64_t columns = min((longer + NR - 1) // NR * NR, block_columns(k))
    cdef int64_t reals = columns * chain_length(k)
    return reals * sizeof(real) if reals > STACK_REALS else 0


cdef inline bint worth_packing(const Product *p) noexcept nogil:
    """Whether the columns of b are packed. They must be where the vectors of a row are not contiguous."""
    return p.b.column != 1


cdef void one_tile(const Product *p, Tile *t, int64_t rows, int64_t columns, const real *start,
                   real *sum) noexcept nogil:
    """A tile whose first element is at `start` and `sum`; it goes through a buffer where these are strided."""
    cdef real buffer[MR * TILE_VECTORS * VL]
    cdef int vectors = <int> ((columns + VL - 1) // VL)
    t.lanes = columns - (vectors - 1) * VL
    t.start = start
    t.start_row = p.start.row
    t.c = sum
    t.c_row = p.sum.row
    if start != NULL and p.start.column != 1:
        read_block(buffer, TILE_VECTORS * VL, start, p.start.row, p.start.column, rows, columns)
        t.start = buffer
        t.start_row = TILE_VECTORS * VL
    if p.sum.column == 1:
        run_tile(<int> rows, vectors, t)
        return
    t.c = buffer
    t.c_row = TILE_VECTORS * VL
    if t.add:
        read_block(buffer, t.c_row, sum, p.sum.row, p.sum.column, rows, columns)
    run_tile(<int> rows, vectors, t)
    scatter(sum, p.sum.row, p.sum.column, buffer, t.c_row, rows, columns)


cdef void one_band(const Product *p, Tile *t, int64_t rows, const real *b, bint packed) noexcept nogil:
    """All tiles of some rows (at most MR): p begins with their first row, b holds the chain's part of its columns."""
    cdef int64_t j = 0, columns, width = (NV if packed else widest(rows)) * VL
    while j < p.n:
        columns = min(width, p.n - j)
        t.b = b
        one_tile(p, t, rows, columns, NULL if p.start.data == NULL else p.start.data + j * p.start.column,
                 p.sum.data + j * p.sum.column)
        b += t.k * NR if packed else width
        j += width


cdef void one_block(const Product *p, real *slivers) noexcept nogil:
    """All chains of some columns, band after band of rows; the epilogue follows a band's last chain."""
    cdef Product band
    cdef Tile t
    cdef bint packed = slivers != NULL
    cdef int64_t bands = (p.m + MR - 1) // MR, step = 0, number, rows, i
    cdef const real *b
    t.a_row = p.a.row
    t.a_step = p.a.column
    t.tiles = 1
    t.b_next = 0
    t.b_step = NR if packed else p.b.row
    t.add = False
    while True:
        t.k = chain_length(p.k - step)
        b = p.b.data + step * p.b.row
        if packed:
            pack_slivers(slivers, b, p.b.row, p.b.column, t.k, p.n)
            b = slivers
        i = 0
        for number in range(bands):
            rows = p.m // bands + (number < p.m % bands)
            band = p[0]
            narrow(&band, i, rows, 0, p.n)
            if t.add:
                band.start.data = NULL
            t.a = band.a.data + step * p.a.column
            one_band(&band, &t, rows, b, packed)
            if step + t.k == p.k:
                finish(&band)
            i += rows
        step += t.k
        t.add = True
        if step >= p.k:
            return


cdef void solve(Product *p, char *scratch) noexcept nogil:
    """One thread's product, block after block of columns."""
    cdef real stack[STACK_REALS]
    cdef real *slivers = NULL
    cdef Product block
    cdef int64_t columns = block_columns(p.k), j = 0
    if p.n == 1:
        p.b.column = p.start.column = p.sum.column = p.c.column = p.aux.column = 1
    if worth_packing(p):
        slivers = <real *> scratch
        if min(columns, (p.n + NR - 1) // NR * NR) * chain_length(p.k) <= STACK_REALS:
            slivers = stack
    while j < p.n:
        block = p[0]
        narrow(&block, 0, p.m, j, min(columns, p.n - j))
        one_block(&block, slivers)
        j += columns


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
        scatter(c + j * p.c.column, 0, p.c.column, sums, 0, 1, n)
        j += n


cdef void finish(const Product *p) noexcept nogil:
    """The epilogue on a band of finished rows, while they are in the first-level cache."""
    cdef int64_t i
    cdef bint contiguous = p.c.column == 1 and p.sum.column == 1 and (p.aux.data == NULL or p.aux.column == 1)
    cdef const real *aux = p.aux.data
    if p.epilogue == NO_EPILOGUE:
        return
    if contiguous and p.c.row == p.n and p.sum.row == p.n and (aux == NULL or p.aux.row == p.n):
        apply_run(p, p.c.data, p.sum.data, aux, p.m * p.n)
        return
    for i in range(p.m):
        if contiguous:
            apply_run(p, p.c.data + i * p.c.row, p.sum.data + i * p.sum.row, aux, p.n)
        else:
            apply_strided(p, p.c.data + i * p.c.row, p.sum.data + i * p.sum.row, aux)
        if aux != NULL:
            aux += p.aux.row


# ------------------------------------------------------------------------------------------------------- kernel


cdef int product(const Instruction *instruction, int thread, int n_threads) noexcept nogil:
    """Operands c, z, a, b, bias, aux; integers transpose_a, transpose_b, accumulate, epilogue, code."""
    cdef Product p
    read_product(instruction, &p)
    if better_exchanged(&p):
        exchange_sides(&p)
    if n_threads > 1:
        take_part(&p, thread, n_threads)
    if p.m > 0 and p.n > 0:
        solve(&p, instruction.scratch + thread * instruction.scratch_size)
    return KERNEL_OK

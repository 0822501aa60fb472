# c[m, n] = f(start + a[m, k] b[k, n]): what is to be computed, from which side, and which thread computes what.
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
    const real *kept       # all of b as slivers, which outlive the run: see kept.pxi; NULL: there is no such copy
    int64_t slivers        # how many those are for a chain, ...
    int64_t first          # ... and which of them holds the product's first column
    bint rounded           # a and b, to bfloat16
    bint spread            # copied bands of a have each number so often that it fills a vector
    bint add               # c += factor * (a b): start is absent, and k is one chain at most
    real factor
    Matrix sum             # where the chains are summed: c itself, or z, the output before the activation
    Matrix c
    Matrix aux             # what the slope is taken at
    int epilogue, code
    const double *numbers
    int64_t reals_of_b     # in all of b, of which this may be a thread's part
    int64_t block          # numbers of b that may be packed at a time
    Coming *coming         # what to ask for meanwhile; NULL: nothing


cdef enum:
    NO_EPILOGUE, FORWARD, SLOPE
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


cdef inline void start_plain(Product *p) noexcept nogil:
    """All that a product may have beside its matrices: none of it."""
    p.start.data = p.aux.data = NULL
    p.kept, p.first = NULL, 0
    p.rounded = p.spread = p.add = False
    p.factor = 1
    p.epilogue = NO_EPILOGUE
    p.coming = NULL


cdef inline void read_factors(const Instruction *instruction, bint turned_a, bint turned_b, Product *p) noexcept nogil:
    """Operands c, ..., a, b, and all that is the same for a plain product."""
    cdef const Operand *a = &instruction.operand[2]
    start_plain(p)
    p.a = matrix_of(a)
    p.b = matrix_of(&instruction.operand[3])
    p.c = p.sum = matrix_of(&instruction.operand[0])
    p.n = instruction.operand[0].shape[instruction.operand[0].ndim - 1]
    p.k = a.shape[a.ndim - 1]
    p.m = rows_of(a)
    if turned_a:
        p.a = transposed(p.a)
        p.m, p.k = p.k, p.m
    if turned_b:
        p.b = transposed(p.b)


cdef inline void read_product(const Instruction *instruction, bint rounded, Product *p) noexcept nogil:
    cdef const Operand *bias = &instruction.operand[4]
    read_factors(instruction, instruction.integer[0], instruction.integer[1], p)
    if instruction.n_operands > 5:
        p.aux = matrix_of(&instruction.operand[5])
    if instruction.integer[2]:
        p.start = p.c
    elif instruction.n_operands > 4 and bias.data != NULL:
        p.start.data = <real *> bias.data
        p.start.row = 0
        p.start.column = bias.stride[0]
    p.rounded = rounded
    if instruction.n_operands > KEPT_OPERAND and instruction.operand[KEPT_OPERAND].data != NULL:
        keep(p, <const real *> instruction.operand[KEPT_OPERAND].data)
    p.epilogue = <int> instruction.integer[3]
    p.code = <int> instruction.integer[4]
    p.numbers = &instruction.number[0]
    if p.epilogue == FORWARD and instruction.operand[1].data != NULL:
        p.sum = matrix_of(&instruction.operand[1])


cdef inline void read_update(const Instruction *instruction, Product *p) noexcept nogil:
    """Of an update, all but its factor, which differs from step to step."""
    read_factors(instruction, instruction.integer[1], instruction.integer[2], p)
    p.add = True


cdef inline real update_factor(const Instruction *instruction, const double *run) noexcept nogil:
    """What a gradient is multiplied by in the step of that run row."""
    return <real> (-(run[instruction.integer[0]] * instruction.number[0]))


cdef inline void straighten(Product *p) noexcept nogil:
    """A single column is contiguous, whatever its stride."""
    if p.n == 1:
        p.b.column = p.start.column = p.sum.column = p.c.column = p.aux.column = 1


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
    p.kept = NULL


cdef inline int64_t most_turned_rows(int64_t b_column, int64_t k) noexcept nogil:
    """Up to how many rows turn b on the way, whose contiguous columns lie so far apart."""
    if shares_sets(b_column) or k <= TURNED_STEPS:
        return SHARING_TURNED_ROWS
    return TURNED_ROWS * (turned_bands if k >= LONG_TURNED_STEPS else short_turned_bands)


cdef inline bint turns(const Product *p, int64_t m, int64_t n, int64_t b_column) noexcept nogil:
    """Whether that is done for a product of m rows and n columns, from one side or the other, rather than packing b."""
    return b_column != 1 and n > FEW and m <= most_turned_rows(b_column, p.k) and not p.add and not p.rounded


cdef inline double estimate(const Product *p, int64_t m, int64_t n, int64_t a_row, int64_t b_column,
                            int64_t c_column) noexcept nogil:
    """What a product costs one thread from one side or the other, in multiply-adds of one vector: its own, and as many
    as turning b and c takes time for.

    Some rows turn b in registers, whole vectors of columns of it with AVX-512 while they add others; else it is packed,
    which costs more. Half a vector loads as much of a as a whole one, and takes somewhat more than half of its time, or
    as long if there is no other and a's rows share sets. Each chain comes back to c.
    """
    cdef double vectors = <double> ((n + VL - 1) // VL), steps = <double> p.k, turn_b_for = 0.75, turn_c_for = 4.0
    cdef bint turned = turns(p, m, n, b_column)
    if turned:
        turn_b_for = 0.25
        if LEVEL == 4 and n >= VL and not shares_sets(b_column):  # less hidden by few rows' arithmetic
            turn_b_for = 0.03125 * ((m + TURNED_ROWS - 1) // TURNED_ROWS + 3)
    elif LEVEL < 4 and m > TURNED_ROWS:  # where this was measured
        turn_b_for = 1.0
        turn_c_for *= (p.k + KCHAIN - 1) // KCHAIN * (2 if shares_sets(c_column) else 1)
    if turned or m <= SHARING_TURNED_ROWS:
        turn_c_for = 1.0
    if n % VL and fits_half(n % VL) and not turned and not (n < VL and shares_sets(a_row)):
        vectors -= 0.42
    return m * steps * vectors + (turn_b_for * steps * n if b_column != 1 and n > 1 else 0.0) + (
        turn_c_for * m * n if c_column != 1 and n > 1 else 0.0)


cdef inline bint better_exchanged(const Product *p) noexcept nogil:
    """Vectors lie along n: whether they had better lie along m, for the layouts' sake or because n fills few lanes."""
    if (p.n >= 2 * VL or p.n == VL) and p.b.column == 1 and p.sum.column == 1:
        return False
    return (estimate(p, p.n, p.m, p.b.column, p.a.row, p.sum.row)
            < estimate(p, p.m, p.n, p.a.row, p.b.column, p.sum.column))


# ------------------------------------------------------------------------------------------------------ threads


cdef void take_part(Product *p, int thread, int n_threads) noexcept nogil:
    """Narrows a product to one thread's part of c: a grid of threads, cut at whole vectors of columns.

    Of all grids the one is taken whose largest part has the least work: its elements; the packing of its columns,
    which costs as much as 8 rows do; and, where the parts of a row of c in memory are several threads', what each
    element then costs more, as much as 8 steps do.
    """
    cdef int64_t first, last, rows, columns, steps, cost, best = -1
    cdef int across, cuts, chosen = 1
    for across in range(1, n_threads + 1):
        if n_threads % across == 0:
            rows = (p.m + n_threads // across - 1) // (n_threads // across)
            columns = ((p.n + NR - 1) // NR + across - 1) // across * NR
            cuts = across if p.sum.column == 1 else n_threads // across
            steps = p.k + 8 if cuts > 1 else p.k
            cost = columns * (rows * steps + 8 * p.k)
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
    p.first += j // NR  # columns of a kept b are cut nowhere else
    p.start = from_element(p.start, i, j)
    p.sum = from_element(p.sum, i, j)
    p.c = from_element(p.c, i, j)
    p.aux = from_element(p.aux, i, j)


# ------------------------------------------------------------------------------------------------------- kernel


cdef int product(const Instruction *instruction, int thread, int n_threads) noexcept nogil:
    """Operands c, z, a, b, bias, aux; integers transpose_a, transpose_b, accumulate, epilogue, code."""
    cdef Product p
    read_product(instruction, False, &p)
    return run_product(instruction, &p, thread, n_threads)


cdef int product_bfloat16(const Instruction *instruction, int thread, int n_threads) noexcept nogil:
    """The same with both factors rounded to bfloat16; sums, bias and epilogue stay as they are."""
    cdef Product p
    read_product(instruction, True, &p)
    return run_product(instruction, &p, thread, n_threads)


cdef int product_update(const Instruction *instruction, int thread, int n_threads) noexcept nogil:
    """w -= rate * (a b), the update of a weight by its gradient, which is never stored; k is at most KCHAIN.

    Operands w, nothing, a, b, ... (ignored); integers column of the learning rate, transpose_a, transpose_b; number 0:
    what the rate is multiplied by.
    """
    cdef Product p
    read_update(instruction, &p)
    p.factor = update_factor(instruction, instruction.run)
    return run_product(instruction, &p, thread, n_threads)


cdef int run_product(const Instruction *instruction, Product *p, int thread, int n_threads) noexcept nogil:
    """One thread's part."""
    if thread == 0 and is_coming(instruction.coming):
        p.coming = instruction.coming
    p.block = block_of_each(n_threads)
    if (p.kept == NULL or p.n < NR) and better_exchanged(p):
        exchange_sides(p)
    p.reals_of_b = p.k * p.n
    if n_threads > 1:
        take_part(p, thread, n_threads)
    if p.m > 0 and p.n > 0:
        solve(p, instruction.scratch + thread * instruction.scratch_size)
    return KERNEL_OK

# How a product is computed: what is copied, what is read along its rows or turned on the way, which columns come first;
# and how much scratch memory that takes. Sizes and reasons stand in tiles.h and tuning.pxi; no result depends on them.


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

    It holds the slivers of a block, of which there are no more than fit into one, whatever k is; or, where b is
    streamed, sums of STREAMED_REALS and a padding for each row, which is less than such a b has.
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


cdef inline bint packs_a(const Product *p) noexcept nogil:
    """Whether bands of a are copied: where many tiles use a band that would share few sets of the cache, or whose
    numbers had better fill vectors, and where they are rounded."""
    if p.rounded:
        return True
    if p.n < COPYING_COLUMNS or sliver_reals(p.n, p.k) <= STACK_REALS:
        return False
    return SPREADS or p.a.row == 1 or p.a.column == 1 and shares_sets(p.a.row)


cdef inline bint straddles(const Product *p) noexcept nogil:
    """Whether b's rows begin anywhere in a cache line, on a processor for which it was measured what that changes."""
    return halved and near_l3 and p.b.row % VL != 0


cdef inline bint reads_rows(const Product *p) noexcept nogil:
    """Whether one row reads a b that is near along its rows, on a processor for which that was measured: where tiles
    side by side would read many cache lines twice and not find them in a near cache the second time, and where the
    second-level cache does not hold b and its rows are neither short nor long."""
    if not (halved and p.m == 1):
        return False
    if straddles(p):
        return p.n >= STRADDLING_COLUMNS and p.k * p.n > STRADDLING_REALS
    return READ_COLUMNS <= p.n <= MOST_READ_COLUMNS and p.k * p.n > L2_REALS


cdef inline int64_t streamed_rows(const Product *p) noexcept nogil:
    """Up to how many rows read b row after row, rather than in tiles of columns: where it comes from afar, or where the
    second-level cache does not hold it and parts of its rows would have to share sets. Where threads share the cache
    that it comes from, few rows look at what all of them read."""
    cdef int64_t reals = p.k * p.n
    if reals > memory_reals:
        return memory_streamed_rows
    if reals > far_reals:
        return sharing_streamed_rows if shares_sets(p.b.row) else most_streamed_rows
    if reads_rows(p):
        return 1
    if far_is_shared and p.reals_of_b > far_reals or whole_vectors and reals > L2_REALS and shares_sets(p.b.row):
        return LOADING_ROWS
    return 0


cdef inline int64_t streamed_steps(const Product *p) noexcept nogil:
    """How many rows of b are read side by side: more where bands of rows find in a near cache what others have read.
    Below AVX-512 that is not so where rows share sets, or come from memory."""
    cdef bint sharing = LEVEL < 4 and shares_sets(p.b.row)
    if p.m == 1:
        return FEWER_STEPS if sharing else STREAMED_STEPS
    if p.m > MR and not sharing and (LEVEL == 4 or p.k * p.n <= memory_reals):
        return SHARED_STEPS
    return STREAMED_STEPS


cdef inline bint has_plain_rows(const Product *p) noexcept nogil:
    """Whether rows of b and c lie in one piece, and are neither added to nor rounded."""
    return (p.kept == NULL and p.b.column == 1 and p.sum.column == 1 and not p.add and not p.rounded
            and (p.start.data == NULL or p.start.column == 1))


cdef inline bint is_streamed(const Product *p) noexcept nogil:
    """Whether rows of b are read one after the other."""
    return p.m <= streamed_rows(p) and has_plain_rows(p)


cdef inline bint stores_rows(const Product *p) noexcept nogil:
    """Whether rows of c are written one after the other, not in tiles: of one step there is nothing else to do."""
    return halved and p.k == 1 and p.m > 1 and STORED_COLUMNS <= p.n <= MOST_STORED_COLUMNS and has_plain_rows(p)


cdef inline bint is_turned(const Product *p) noexcept nogil:
    """Whether b's contiguous columns are turned on the way, rather than packed."""
    return p.b.row == 1 and p.kept == NULL and turns(p, p.m, p.n, p.b.column)


cdef inline int64_t turned_room(const Product *p) noexcept nogil:
    """How many numbers of scratch memory a turned product has, by product_scratch, for a copy of a."""
    cdef int64_t reals = sliver_reals(p.n, p.k)
    return COPIED_REALS + reals if reals > STACK_REALS else 0


cdef inline int64_t fewest_loading_columns(const Product *p) noexcept nogil:
    """How many columns b must have so that it pays to load them from the beginnings of its cache lines on."""
    if p.m <= LOADING_ROWS:
        return loading_columns
    if LEVEL == 4:
        return UNLIMITED
    if packs_b(p):
        return PACKED_LOADING_COLUMNS if p.m <= PACKED_LOADING_ROWS and p.k * p.n > memory_reals else UNLIMITED
    return 2 * loading_columns if p.m <= NARROW_LOADING_ROWS else UNLIMITED


cdef inline int64_t columns_before_line(const Product *p) noexcept nogil:
    """How many columns come first, on their own, so that none of the others' vectors lies in two cache lines.

    A product of few rows does little but load b, one of few steps little but store c. 0 where it does not help: of few
    columns the first ones take too long on their own, and rows of other lengths begin elsewhere.
    """
    cdef bint storing = p.k <= STORING_STEPS
    cdef const Matrix *x = &p.sum if storing else &p.b
    if p.kept != NULL or x.column != 1 or x.row % VL != 0 or p.rounded and not storing:
        return 0
    if p.n < (8 * NR if storing else fewest_loading_columns(p)):
        return 0
    return before_line(x.data)

# A second factor that many products use as it is: packed once, all of it, and kept from run to run. Its slivers lie in
# the order in which tiles read them, those of the first chain of steps first.

cdef inline int64_t kept_stride(int64_t steps, bint rounded) noexcept nogil:
    """How far it is from one sliver of a chain of so many steps to the next."""
    return sliver_stride(rounded_steps(steps) if rounded else steps)


cpdef int64_t kept_reals(int64_t k, int64_t n, bint rounded) noexcept nogil:
    """How many numbers the copy of a k x n factor takes."""
    cdef int64_t slivers = (n + NR - 1) // NR, rest = k % KCHAIN
    return slivers * (k // KCHAIN * kept_stride(KCHAIN, rounded) + (kept_stride(rest, rounded) if rest else 0))


cpdef bint is_worth_keeping(int64_t k, int64_t n, bint rounded) noexcept nogil:
    """Whether products are faster with a copy: a rounded one in any case; else not where the second-level cache holds
    b, nor where few columns had better be exchanged with rows."""
    return rounded or (n >= NR and k * n > L2_REALS)


cdef inline void keep(Product *p, const real *copy) noexcept nogil:
    """Lets a product, whose size is known, use a copy of all of its b, unless b itself is read sooner."""
    if BY_COLUMNS and KEPT_ROWS < p.m <= MR and p.k * p.n > memory_reals and not p.rounded:
        return
    p.kept = copy
    p.slivers = (p.n + NR - 1) // NR


cdef inline const real *kept_slivers(const Product *p, int64_t step, int64_t steps) noexcept nogil:
    """Those of the product's columns for the chain of `steps` that begins at `step`."""
    return (p.kept + step // KCHAIN * p.slivers * kept_stride(KCHAIN, p.rounded)
            + p.first * kept_stride(steps, p.rounded))


cdef int pack_factor(const Instruction *instruction, bint rounded, int thread, int n_threads) noexcept nogil:
    """Operands the copy, b. Threads share its columns."""
    cdef Matrix b = matrix_of(&instruction.operand[1])
    cdef real *to = <real *> instruction.operand[0].data
    cdef int64_t k = instruction.operand[1].shape[0], n = instruction.operand[1].shape[1]
    cdef int64_t step = 0, steps, first, last, stride
    share(n, NR, thread, n_threads, &first, &last)
    while step < k:
        steps = chain_length(k - step)
        stride = kept_stride(steps, rounded)
        pack_slivers(to + first // NR * stride, from_element(b, step, first).data, b.row, b.column, steps, last - first,
                     rounded)
        to += (n + NR - 1) // NR * stride
        step += steps
    return KERNEL_OK


cdef int pack(const Instruction *instruction, int thread, int n_threads) noexcept nogil:
    """The copy of b for `product`."""
    return pack_factor(instruction, False, thread, n_threads)


cdef int pack_bfloat16(const Instruction *instruction, int thread, int n_threads) noexcept nogil:
    """The copy of b for `product_bfloat16`."""
    return pack_factor(instruction, True, thread, n_threads)

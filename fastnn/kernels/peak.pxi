# The processor's arithmetic at full rate, to compare others with: multiply-adds in as many chains as keep it busy.

cdef enum:
    PEAK_CHAINS = 12


cdef int peak(const Instruction *instruction, int thread, int n_threads) noexcept nogil:
    """Integer 0: how many times each chain is multiplied and added to. Operands: one number a thread, which depends on
    all of it, so that no compiler leaves it out.
    """
    cdef vf chain[PEAK_CHAINS]
    cdef vf factor = vsplat(<real> 0.999), term = vsplat(<real> 0.001), total = vsplat(0)
    cdef int64_t step
    cdef int i
    for i in range(PEAK_CHAINS):
        chain[i] = vsplat(<real> i)
    for step in range(instruction.integer[0]):
        for i in range(PEAK_CHAINS):
            chain[i] = vfma(factor, chain[i], term)
    for i in range(PEAK_CHAINS):
        total = total + chain[i]
    (<real *> instruction.operand[0].data)[thread] = vlane0(total)
    return KERNEL_OK

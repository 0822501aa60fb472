# Elementwise kernels.


cdef int unary(const Instruction *instruction, int thread, int n_threads) noexcept nogil:
    """y = max(x, 0)."""
    cdef const Operand *y = &instruction.operand[0]
    cdef const Operand *x = &instruction.operand[1]
    cdef int64_t first, last, i
    share(count(y), 16, thread, n_threads, &first, &last)
    cdef real *target = <real *> y.data
    cdef const real *source = <const real *> x.data
    i = first
    while i + VL <= last:
        vstore(target + i, vmax(vsplat(0), vload(source + i)))
        i += VL
    if i < last:
        vstore_part(target + i, vmax(vsplat(0), vload_part(source + i, last - i)), last - i)
    return KERNEL_OK

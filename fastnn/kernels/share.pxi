# How threads share work, and how a kernel looks at its operands.


cdef inline void share(int64_t items, int64_t grain, int thread, int n_threads,
                       int64_t *first, int64_t *last) noexcept nogil:
    """Thread's part [first, last) of `items`, cut only at multiples of `grain`."""
    cdef int64_t grains = (items + grain - 1) // grain
    first[0] = min(items, grains * thread // n_threads * grain)
    last[0] = min(items, grains * (thread + 1) // n_threads * grain)


cdef inline int64_t count(const Operand *operand) noexcept nogil:
    """How many elements an operand has."""
    cdef int64_t total = 1
    cdef int axis
    for axis in range(operand.ndim):
        total *= operand.shape[axis]
    return total

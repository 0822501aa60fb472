# Results of a step that its caller reads: numbers copied into the run row.


cdef int record(const Instruction *instruction, int thread, int n_threads) noexcept nogil:
    """run[slot] = x, for one number x; integer[0] is the slot's column."""
    cdef double *row = <double *> instruction.run
    if thread == 0:
        row[instruction.integer[0]] = (<const real *> instruction.operand[0].data)[0]
    return KERNEL_OK

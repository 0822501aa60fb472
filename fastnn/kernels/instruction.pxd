# instruction.h for Cython.
from libc.stdint cimport int32_t, int64_t

cdef extern from "instruction.h":
    enum: MAX_DIMS, MAX_OPERANDS, MAX_INTEGERS, MAX_NUMBERS, FORM_WORDS, KEPT_OPERAND
    enum: KERNEL_OK, KERNEL_BAD_LABEL, KERNEL_BAD_INDEX, KERNEL_INTERRUPTED
    enum: TYPE_FLOAT32, TYPE_FLOAT64, TYPE_INT32, TYPE_INT64, TYPE_UINT8

    int64_t item_size(int type) noexcept nogil

    ctypedef struct Operand:
        char *data
        int64_t *shape
        int64_t *stride
        int32_t ndim
        int32_t type
        int32_t padded

    ctypedef struct Coming:
        const char *source
        const int64_t *index
        int64_t stride
        int64_t size
        int64_t rows
        int64_t row
        int64_t offset

    ctypedef struct Instruction
    ctypedef int (*Kernel)(const Instruction *, int, int) noexcept nogil
    ctypedef Kernel (*Prepare)(Instruction *, int) noexcept nogil
    ctypedef Kernel (*PrepareWhole)(Instruction *, const Instruction *, const Kernel *, int) noexcept nogil
    ctypedef struct Instruction:
        Kernel kernel
        int64_t *form
        Operand *operand
        int64_t *integer
        double *number
        Coming *coming
        const double *run
        char *scratch
        int64_t scratch_size
        double work
        int32_t n_operands
        int32_t n_outputs
        int32_t max_threads
        int32_t barrier
        int32_t closes

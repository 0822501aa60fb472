# One level's kernels for one floating-point type: everything is included here, and KERNELS names what came out.
from libc.stdint cimport int32_t, int64_t, uint8_t, uint32_t, uint64_t

from fastnn.kernels.instruction cimport (
    KERNEL_BAD_INDEX, KERNEL_BAD_LABEL, KERNEL_OK, TYPE_FLOAT32, TYPE_FLOAT64, TYPE_INT32, TYPE_INT64, TYPE_UINT8,
    Instruction, Operand,
)

include "vector.pxi"
include "share.pxi"
include "functions.pxi"
include "elementwise.pxi"
include "random.pxi"

KERNELS = {
    "unary": <size_t> <void *> unary,
    "slope": <size_t> <void *> slope,
    "dropout": <size_t> <void *> dropout,
}

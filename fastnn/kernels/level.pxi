# One level's kernels for one floating-point type: everything is included here, and KERNELS names what came out.
from libc.stdint cimport int32_t, int64_t, uint8_t, uint32_t, uint64_t, uintptr_t
from libc.stdlib cimport llabs
from libc.string cimport memmove, memset

from fastnn.kernels.instruction cimport (
    KERNEL_BAD_INDEX, KERNEL_BAD_LABEL, KERNEL_OK, MAX_DIMS, TYPE_FLOAT32, TYPE_FLOAT64, TYPE_INT32, TYPE_INT64,
    TYPE_UINT8, FORM_WORDS, KEPT_OPERAND, Coming, Instruction, Kernel, Operand, item_size,
)

include "vector.pxi"
include "share.pxi"
include "coming.pxi"
include "functions.pxi"
include "largest.pxi"
include "reduce.pxi"
include "columns.pxi"
include "block.pxi"
include "shape.pxi"
include "nest.pxi"
include "elementwise.pxi"
include "softmax.pxi"
include "loss.pxi"
include "cross_entropy.pxi"
include "random.pxi"
include "tuning.pxi"
include "pack.pxi"
include "bfloat16.pxi"
include "tile.pxi"
include "turned.pxi"
include "product.pxi"
include "kept.pxi"
include "choices.pxi"
include "bands.pxi"
include "epilogue.pxi"
include "row.pxi"
include "blocking.pxi"
include "small.pxi"
include "record.pxi"
include "gather.pxi"
include "update.pxi"
include "whole.pxi"
include "peak.pxi"

KERNELS = {
    "argmax": <size_t> <void *> argmax,
    "binary": <size_t> <void *> binary,
    "broadcast": <size_t> <void *> broadcast,
    "clip_scale": <size_t> <void *> clip_scale,
    "collect": <size_t> <void *> collect_rows,
    "concatenate": <size_t> <void *> concatenate,
    "copy": <size_t> <void *> copy,
    "cross_entropy": <size_t> <void *> cross_entropy,
    "dropout": <size_t> <void *> dropout,
    "fill": <size_t> <void *> fill,
    "gather": <size_t> <void *> gather_rows,
    "max_gradient": <size_t> <void *> max_gradient,
    "pack": <size_t> <void *> pack,
    "pack_bfloat16": <size_t> <void *> pack_bfloat16,
    "peak": <size_t> <void *> peak,
    "permute": <size_t> <void *> permute,
    "pointwise_loss": <size_t> <void *> pointwise_loss,
    "product": <size_t> <void *> product,
    "product_bfloat16": <size_t> <void *> product_bfloat16,
    "product_update": <size_t> <void *> product_update,
    "record": <size_t> <void *> record,
    "reduce": <size_t> <void *> reduce,
    "slice": <size_t> <void *> slice_axis,
    "slice_gradient": <size_t> <void *> slice_gradient,
    "slope": <size_t> <void *> slope,
    "softmax": <size_t> <void *> softmax,
    "softmax_gradient": <size_t> <void *> softmax_gradient,
    "squares": <size_t> <void *> squares,
    "sum_update": <size_t> <void *> sum_update,
    "unary": <size_t> <void *> unary,
    "update": <size_t> <void *> update,
    "update_adam": <size_t> <void *> update_adam,
    "where": <size_t> <void *> where,
}

# Each finds a shorter way for the kernel of that name on operands that are bound: see `Prepare` in instruction.h.
PREPARATIONS = {
    "binary": <size_t> <void *> prepare_binary,
    "cross_entropy": <size_t> <void *> prepare_cross_entropy,
    "gather": <size_t> <void *> prepare_gather,
    "pointwise_loss": <size_t> <void *> prepare_pointwise,
    "product": <size_t> <void *> prepare_product,
    "product_update": <size_t> <void *> prepare_update,
    "reduce": <size_t> <void *> prepare_reduce,
    "slope": <size_t> <void *> prepare_slope,
    "sum_update": <size_t> <void *> prepare_sum_update,
    "unary": <size_t> <void *> prepare_unary,
    "where": <size_t> <void *> prepare_where,
}

assert FORM_WORDS * sizeof(int64_t) >= max(
    sizeof(CrossEntropy), sizeof(Flat), sizeof(NarrowRows), sizeof(PointwiseLoss), sizeof(Reduction),
    sizeof(SmallProduct), sizeof(WholeStep))

PREPARE_WHOLE = <size_t> <void *> prepare_whole  # for a step's instructions together

PRODUCT_SCRATCH = <size_t> <void *> product_scratch  # where calls from C find it
PEAK_FLOPS = 2 * PEAK_CHAINS * VL  # of the kernel `peak`, a step
TILES = {
    "MR": MR, "NR": NR, "VL": VL, "KCHAIN": KCHAIN, "SUM_CHUNK": SUM_CHUNK, "ROW_CHUNK": ROW_CHUNK, "HAS_FMA": HAS_FMA,
    "L2_REALS": L2_REALS, "PAIRS": in_pairs,
}

# What products choose by the processor, and not by its level alone; sizes and reasons stand in tiles.h. They say which
# element is computed when, and from which copy of its operands: no result depends on them.
from fastnn.kernels import cpu

cdef bint halved = LEVEL == 4 and cpu.halves_vectors()
cdef bint in_place = LEVEL == 4 and cpu.has_near_l3() and not halved  # b is read where it lies if it can be
cdef bint pairs_groups = in_place  # one row's chains of additions go side by side, not one after the other
cdef bint wide_blocks = cpu.level() == 4 and cpu.has_near_l3() and not cpu.halves_vectors()  # whatever LEVEL is in use
cdef int64_t block_reals = WIDE_BLOCK_REALS if wide_blocks else BLOCK_REALS
cdef int64_t packed_rows = WIDE_PACKED_ROWS if wide_blocks else PACKED_ROWS
cdef int64_t near_mr = HALVED_MR if halved else MR  # rows of a tile where b is near
cdef int64_t packing_reals = HALVED_PACKING_REALS if halved else PACKING_REALS
cdef int64_t far_reals = NEAR_L3_FAR_REALS if cpu.has_near_l3() else FAR_REALS
cdef int64_t most_streamed_rows = MR if cpu.has_near_l3() else STREAMED_ROWS
cdef int64_t loading_columns = NEAR_L3_LOADING_COLUMNS if cpu.has_near_l3() else LOADING_COLUMNS

# What kernels, mostly products, choose by the processor, and not by its level alone; sizes and reasons stand in
# tiles.h. They say which element is computed when, and from which copy of its operands: no result depends on them.
from fastnn.kernels import cpu

cdef bint near_l3 = cpu.has_near_l3()
cdef bint halved = LEVEL == 4 and cpu.halves_vectors()
cdef bint whole_vectors = LEVEL == 4 and near_l3 and not halved
# From so many rows on, and up to so many, tiles read b where it lies if they can.
cdef int64_t first_in_place = 1 if whole_vectors else PACKING_ROWS
cdef int64_t last_in_place = UNLIMITED if whole_vectors else (HALVED_IN_PLACE_ROWS if halved and near_l3 else 0)
cdef int64_t block_reals = WIDE_BLOCK_REALS if near_l3 else BLOCK_REALS
cdef int64_t packed_rows = WIDE_PACKED_ROWS if near_l3 else PACKED_ROWS
cdef bint asks_for_rows = LEVEL == 4 and near_l3  # of b, while others are packed
cdef int64_t near_mr = HALVED_MR if halved else MR  # rows of a tile where b is near
cdef int64_t packing_reals = HALVED_PACKING_REALS if halved else PACKING_REALS
cdef int64_t far_reals = NEAR_L3_FAR_REALS if near_l3 else FAR_REALS
cdef bint far_is_shared = near_l3 and not BY_COLUMNS  # what holds so much is the third-level cache
cdef int64_t large_reals = HALVED_LARGE_REALS if halved and near_l3 else far_reals
# Up to how many rows read a b from afar row after row: usually; where its rows share sets; where it comes from memory.
cdef int64_t most_streamed_rows = MR if near_l3 and not BY_COLUMNS else STREAMED_ROWS
cdef int64_t sharing_streamed_rows = SHARING_STREAMED_ROWS if near_l3 or BY_COLUMNS else most_streamed_rows
cdef int64_t memory_reals = MEMORY_REALS if near_l3 or BY_COLUMNS else UNLIMITED
cdef int64_t memory_streamed_rows = HALVED_MEMORY_STREAMED_ROWS if halved else MEMORY_STREAMED_ROWS
cdef int64_t loading_columns = NEAR_L3_LOADING_COLUMNS if near_l3 else LOADING_COLUMNS
cdef bint stores_past = LEVEL >= 2 and cpu.reads_before_storing()
cdef int64_t turned_bands = HALVED_TURNED_BANDS if halved else 1  # that turn b one by one, instead of packing it
cdef int64_t short_turned_bands = HALVED_SHORT_TURNED_BANDS if halved else 1

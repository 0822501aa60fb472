# vector.h and tiles.h for Cython. To Cython a vector is a float; the C compiler knows better. So: never mix vf with a
# real or a literal in one expression (use vsplat), never compare with < or ==, and never assign a literal to one.
cdef extern from "vector.h":
    ctypedef float real
    ctypedef float vf
    ctypedef int vi
    ctypedef int ireal
    enum: REAL_IS_DOUBLE, HAS_FMA, MANTISSA_BITS, EXPONENT_BIAS
    enum: L1_REALS, BLOCK_REALS, STACK_VECTORS, STACK_REALS, PACKING_ROWS, PACKING_REALS
    enum: FEW, SLIVER_PADDING, STACK_PADDING_VECTORS, PACKED_ROWS, WIDE_PACKED_ROWS, WIDE_BLOCK_REALS
    enum: SPREADS, BAND_STEP, STEPS_TOGETHER, BAND_ROW, COPIED_REALS, COPYING_COLUMNS, TRIPLE_ROWS
    enum: BY_COLUMNS, BY_COLUMNS_STEPS, BY_COLUMNS_REALS, BY_COLUMNS_A_REALS
    enum: LEVEL, REGISTERS, MR, ROW_TRIPLES, NEAR_REALS, LOADING_ROWS, STORING_STEPS, SHARING_ROWS, KEPT_ROWS
    enum: READ_COLUMNS, MOST_READ_COLUMNS, STORED_COLUMNS, MOST_STORED_COLUMNS
    enum: LOADING_COLUMNS, NEAR_L3_LOADING_COLUMNS, NARROW_LOADING_ROWS, PACKED_LOADING_ROWS, PACKED_LOADING_COLUMNS
    enum: IN_PLACE_BLOCK_REALS, L2_REALS
    enum: HALVED_IN_PLACE_ROWS, SEVERAL_ROWS, HALVED_LARGE_REALS
    enum: SHARING_STREAMED_ROWS, MEMORY_STREAMED_ROWS, HALVED_MEMORY_STREAMED_ROWS, MEMORY_REALS
    enum: STRADDLING_REALS, STRADDLING_COLUMNS, STRADDLING_ROWS, LARGE_STRADDLING_REALS
    enum: STREAMED_ROWS, STREAMED_STEPS, SHARED_STEPS, STREAMED_COLUMNS, STREAMED_REALS
    enum: HALVED_MR, HALVED_PACKING_REALS, FAR_REALS, NEAR_L3_FAR_REALS
    enum: NV, VL, NR, TILE_VECTORS, WIDEST_ROWS, WIDE_ROWS, THIN_WORK
    enum: ROW_VECTORS, STRIP_VECTORS, FEWER_STEPS
    enum: LANE, LOW_VL, TURNED_ROWS, TURNED_STEPS, LONG_TURNED_STEPS, TURNED_COLUMNS, TURNED_GROUPS, ONE_ROW_GROUPS
    enum: HALVED_TURNED_BANDS, HALVED_SHORT_TURNED_BANDS
    enum: SHARING_TURNED_ROWS, SHARING_COLUMNS, SHARING_GROUPS, LOW_GROUPS
    const int64_t UNLIMITED
    enum: KCHAIN, ROW_CHUNK, SUM_CHUNK, LANES, LANE_VECTORS, NEST_CHUNK, NEST_VECTORS, PAST_REALS
    vf vload(const real *p) noexcept nogil
    vf vload_once(const real *p) noexcept nogil
    vf vload_part(const real *p, int64_t n) noexcept nogil
    void forget_origin(...) noexcept nogil
    void vstore_past(real *p, vf x) noexcept nogil
    void vflush_past() noexcept nogil
    void vprefetch(const real *p) noexcept nogil
    void vprefetch_near(const real *p) noexcept nogil
    void vstore(real *p, vf x) noexcept nogil
    void vstore_last(real *p, vf x, int64_t n) noexcept nogil
    void vstore_part(real *p, vf x, int64_t n) noexcept nogil
    vf vload_exactly(const real *p, int64_t n) noexcept nogil
    void vstore_exactly(real *p, vf x, int64_t n) noexcept nogil
    vf vsplat(real x) noexcept nogil
    vf vfma(vf a, vf b, vf c) noexcept nogil
    vf vfma_low(vf a, vf b, vf c) noexcept nogil
    vf vsplat_low(real x) noexcept nogil
    vf vload_low(const real *p) noexcept nogil
    void vstore_low(real *p, vf x) noexcept nogil
    vf vload_low_part(const real *p, int64_t n) noexcept nogil
    vf vsqrt(vf x) noexcept nogil
    vf vabs(vf x) noexcept nogil
    vf vminus_abs(vf x) noexcept nogil
    vf vnormal(vf x) noexcept nogil
    vf vcopysign(vf x, vf sign) noexcept nogil
    vf vmax(vf a, vf b) noexcept nogil
    vf vmin(vf a, vf b) noexcept nogil
    bint vany(vi mask) noexcept nogil
    vi vless(vf a, vf b) noexcept nogil
    vi vless_equal(vf a, vf b) noexcept nogil
    vi vequal(vf a, vf b) noexcept nogil
    vf vselect(vi mask, vf a, vf b) noexcept nogil
    vf vselect_signed(vf x, vf a, vf b) noexcept nogil
    vi vbits(vf x) noexcept nogil
    vi vshift_right(vi x, int n) noexcept nogil
    vf vfrombits(vi x) noexcept nogil
    const real ROUNDER
    vf vpower_of_two(vf shifted) noexcept nogil
    vf vscale(vf y, vf n) noexcept nogil
    vf vscale_down(vf y, vf n) noexcept nogil
    real rfma(real a, real b, real c) noexcept nogil
    vf vdown(vf x, int by) noexcept nogil
    vi vleading(int64_t n) noexcept nogil
    real vlane0(vf x) noexcept nogil

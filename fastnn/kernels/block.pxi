# Short rows, VL of them side by side: a block holds column c of all its rows in one vector, so that what would be sums
# within a vector become sums of vectors. The order of arithmetic is that of reduce.pxi: a block changes no bit.

cdef enum:
    FEW_ROWS = 2  # so few are done one by one: a block would be nearly empty

# A block is `real block[LANES * VL]`: element c of row r, c < n <= LANES, stands at c * VL + r.


cdef void load_block(real *block, const Operand *x, int64_t first, int64_t rows, int64_t n) noexcept nogil:
    """Rows first ... first + rows - 1 (at most VL) of n elements; zeros in the lanes that are left."""
    cdef real buffer[SPAN]
    cdef const real *p = read_span(x, first * n, rows * n, buffer)
    cdef int64_t r, c
    if rows < VL:
        memset(block, 0, n * VL * sizeof(real))
    for r in range(rows):
        for c in range(n):
            block[c * VL + r] = p[r * n + c]


cdef void store_block(const real *block, const Operand *y, int64_t first, int64_t rows, int64_t n) noexcept nogil:
    cdef real buffer[SPAN]
    cdef real *target = span_target(y, first * n, buffer)
    cdef int64_t r, c
    for r in range(rows):
        for c in range(n):
            target[r * n + c] = block[c * VL + r]
    write_span(y, first * n, rows * n, buffer)


cdef inline vf fold_block(int kind, const real *block, int64_t n) noexcept nogil:
    """Each row reduced to one number, folded 8-4-2-1; a lane that has no element changes nothing."""
    cdef vf part[LANES]
    cdef int64_t c, half = LANES // 2
    for c in range(n):
        part[c] = combine(kind, nothing(kind), vload(block + c * VL))
    while half >= 1:
        for c in range(half, n):
            part[c - half] = combine(kind, part[c - half], part[c])
        n = min(n, half)
        half //= 2
    return part[0]


cdef vf block_maximum(const real *block, int64_t n) noexcept nogil:
    return fold_block(MAXIMUM, block, n)


cdef vf block_sum(const real *block, int64_t n) noexcept nogil:
    return fold_block(SUM, block, n)


cdef inline int64_t rows_together(int64_t n) noexcept nogil:
    """How many rows of n elements pass through the first-level cache together, at most VL."""
    return max(<int64_t> 1, min(<int64_t> VL, L1_REALS // max(n, <int64_t> 1)))


cdef vf fold_rows(int kind, vf *lanes, int64_t rows) noexcept nogil:
    """Up to VL rows' lanes, one row behind the other, each row folded to one number; there is room for VL rows, and the
    lanes are lost."""
    cdef real block[LANES * VL]
    cdef real folded[VL]
    cdef int64_t r
    cdef int v
    if rows <= FEW_ROWS:
        memset(folded, 0, sizeof(folded))
        for r in range(rows):
            folded[r] = vlane0(fold_lanes(kind, lanes + r * LANE_VECTORS))
        return vload(folded)
    memset(lanes + rows * LANE_VECTORS, 0, (VL - rows) * LANES * sizeof(real))
    for v in range(LANE_VECTORS):
        transpose_square(block + v * VL * VL, VL, <const real *> lanes + v * VL, LANES)
    return fold_block(kind, block, LANES)

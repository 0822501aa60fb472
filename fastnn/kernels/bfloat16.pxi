# The factors of a product rounded to bfloat16 while they are copied: as pairs of steps where the processor multiplies
# those, else as numbers. Sums are float32 in the one order of arithmetic, so that both ways give the same bits, those
# of the product of rounded factors; where there are pairs, denormal factors and sums count as zeros.

cdef extern from "bfloat16.h":
    void round_run(real *to, const real *x, int64_t stride, int64_t n) noexcept nogil
    void pair_steps(real *to, const real *x, int64_t stride, int64_t n) noexcept nogil
    void pair_rows(real *to, const real *x, const real *y, int64_t n) noexcept nogil
    vf vpairs(vf a, vf b, vf c) noexcept nogil
    vf vsplat_pair(const real *pair) noexcept nogil
    enum: HAS_PAIRS  # the level has tiles for them

cdef bint in_pairs = HAS_PAIRS and cpu.has_bfloat16()

cdef enum:
    ROUNDED_STEPS = 16  # of b that are brought into rows before they are rounded


cdef inline int64_t rounded_steps(int64_t steps) noexcept nogil:
    """How many steps a chain of rounded numbers has for a tile."""
    return (steps + 1) // 2 if in_pairs else steps


cdef void copy_rounded(real *to, int64_t to_row, const real *x, int64_t x_row, int64_t x_column, int64_t rows,
                       int64_t steps) noexcept nogil:
    """Some rows of a."""
    cdef int64_t i
    for i in range(rows):
        if in_pairs:
            pair_steps(to + i * to_row, x + i * x_row, x_column, steps)
        else:
            round_run(to + i * to_row, x + i * x_row, x_column, steps)


cdef void read_rounded_slivers(real *to, const real *x, int64_t x_row, int64_t x_column, int64_t steps,
                               int64_t columns) noexcept nogil:
    """`read_slivers` of rounded numbers."""
    cdef real block[ROUNDED_STEPS * NR]
    cdef const real *row
    cdef real *sliver
    cdef int64_t i = 0, j, n, each, r, apart = x_row
    while i < steps:
        n = min(steps - i, <int64_t> ROUNDED_STEPS)
        j = 0
        while j < columns:
            each = min(columns - j, <int64_t> NR)
            row = x + i * x_row + j * x_column
            if x_column != 1:
                read_block(block, NR, row, x_row, x_column, n, each)
                row, apart = block, NR
            sliver = to + j // NR * sliver_stride(rounded_steps(steps)) + rounded_steps(i) * NR
            for r in range(rounded_steps(n)):
                if in_pairs:
                    pair_rows(sliver, row, row + apart if 2 * r + 1 < n else NULL, each)
                    row += 2 * apart
                else:
                    round_run(sliver, row, 1, each)
                    row += apart
                sliver += NR
            j += NR
        i += n


cdef inline void pack_slivers(real *to, const real *x, int64_t x_row, int64_t x_column, int64_t steps,
                              int64_t columns, bint rounded) noexcept nogil:
    """A part of b as slivers, rounded or not."""
    if rounded:
        read_rounded_slivers(to, x, x_row, x_column, steps, columns)
    else:
        read_slivers(to, x, x_row, x_column, steps, columns)

# Reductions over any axes.
#
# Order of arithmetic. If the last axis is reduced, the trailing reduced axes form rows: element i of a row goes to lane
# i % LANES, lanes are folded 8-4-2-1, and rows longer than SUM_CHUNK are summed in chunks, added in order. Whatever is
# reduced in front of that is a column sum: chunks of ROW_CHUNK rows, each summed one after the other, added in order.
# What rounding takes from the sum of the chunks is added at the end.
#
# Fewer long rows than threads, and few long columns, are shared by chunks: each thread leaves its chunks' results in
# the scratch memory, and whoever closes the instruction adds them in order.

cdef enum:  # kinds of `reduce`, as in ops/reduction.py
    SUM = 0
    MEAN = 1
    MAXIMUM = 2
    SUM_OF_SQUARES = 3


cdef inline vf nothing(int kind) noexcept nogil:
    """What a reduction starts from."""
    return vsplat(-INFINITE) if kind == MAXIMUM else vsplat(0)


cdef inline vf combine(int kind, vf sum, vf x) noexcept nogil:
    """One more element in each lane; a maximum lets NaN through."""
    if kind == MAXIMUM:
        return vselect(vless(sum, x) | ~vequal(x, x), x, sum)
    if kind == SUM_OF_SQUARES:
        return vfma(x, x, sum)
    return sum + x


cdef inline int outer_kind(int kind) noexcept nogil:
    """How partial results are combined."""
    return MAXIMUM if kind == MAXIMUM else SUM


cdef inline void add_chunk(int kind, vf *total, vf *lost, vf part) noexcept nogil:
    """One more chunk's result; of a sum, what rounding takes from the total is kept in `lost` (Knuth's two-sum)."""
    cdef vf sum, added
    if kind == MAXIMUM:
        total[0] = combine(kind, total[0], part)
        return
    sum = total[0] + part
    added = sum - total[0]
    lost[0] = lost[0] + ((total[0] - (sum - added)) + (part - added))
    total[0] = sum


cdef inline vf whole(int kind, vf total, vf lost) noexcept nogil:
    """All chunks' result. Beyond the largest number nothing is known of what was lost, and of a maximum nothing was."""
    return total if kind == MAXIMUM else vselect(vequal(lost, lost), total + lost, total)


cdef struct RowSum:
    # A row on its way to one number.
    vf lanes[LANE_VECTORS]
    vf total, lost  # of the chunks so far, in lane 0
    int64_t added


cdef inline void start_row(int kind, RowSum *row) noexcept nogil:
    cdef int v
    for v in range(LANE_VECTORS):
        row.lanes[v] = nothing(kind)
    row.total, row.lost = nothing(kind), vsplat(0)
    row.added = 0


cdef inline vf fold_lanes(int kind, vf *lanes) noexcept nogil:
    """The lanes of a row folded 8-4-2-1 into one number, in lane 0."""
    cdef int half = LANES // 2, v
    while half >= VL:
        for v in range(half // VL):
            lanes[v] = combine(kind, lanes[v], lanes[v + half // VL])
        half //= 2
    while half >= 1:
        lanes[0] = combine(kind, lanes[0], vdown(lanes[0], half))
        half //= 2
    return lanes[0]


cdef inline void close_chunk(int kind, RowSum *row) noexcept nogil:
    """Folds the lanes into the total, and starts them anew."""
    cdef int v
    add_chunk(kind, &row.total, &row.lost, fold_lanes(kind, row.lanes))
    for v in range(LANE_VECTORS):
        row.lanes[v] = nothing(kind)


cdef inline void add_lanes(int kind, vf *lanes, const real *p, int64_t n) noexcept nogil:
    """The row's next n elements, which must not cross a chunk's end; only the last run may be no multiple of LANES."""
    cdef int64_t i = 0
    cdef int v
    while i + LANES <= n:
        for v in range(LANE_VECTORS):
            lanes[v] = combine(kind, lanes[v], vload(p + i + v * VL))
        i += LANES
    for v in range(LANE_VECTORS):
        if i < n:
            lanes[v] = combine(kind, lanes[v], load_up_to(p + i, n - i, nothing(kind)))
        i += VL


cdef inline void add_run(int kind, RowSum *row, const real *p, int64_t n) noexcept nogil:
    """`add_lanes`, and the chunk's end if it comes."""
    add_lanes(kind, row.lanes, p, n)
    row.added += n
    if row.added % SUM_CHUNK == 0:
        close_chunk(outer_kind(kind), row)


cdef inline real finish_row(int kind, RowSum *row) noexcept nogil:
    if row.added % SUM_CHUNK != 0:
        close_chunk(outer_kind(kind), row)
    return vlane0(whole(kind, row.total, row.lost))


cdef void add_to_sum(RowSum *row, const real *p, int64_t n) noexcept nogil:
    """`add_run` for sums, as a function: vector math is inlined where it is used, and should stand there once."""
    add_run(SUM, row, p, n)


cdef inline bint find_largest(const real *p, int64_t n, real *top) noexcept nogil:
    """The largest of n contiguous elements, unless which it is depends on the order: one of zeros, of NaN, of none."""
    cdef bint known = False
    if n > 0:
        top[0] = largest_of_few(p, n, &known) if n <= SHORT_ROW else largest_of(p, n, &known)
    return known and top[0] != 0


cdef inline real reduce_piece(int kind, const real *p, int64_t n) noexcept nogil:
    """`reduce_row` of a row that lies in one piece and makes one chunk."""
    cdef vf lanes[LANE_VECTORS]
    cdef real top
    cdef int v
    if kind == MAXIMUM and find_largest(p, n, &top):
        return top
    for v in range(LANE_VECTORS):
        lanes[v] = nothing(kind)
    add_lanes(kind, lanes, p, n)
    return vlane0(fold_lanes(outer_kind(kind), lanes))


cdef inline void reduce_two_chunks(int kind, const real *p, vf *one, vf *two) noexcept nogil:
    """Two chunks that lie one behind the other, side by side: each is a chain of additions, and they need not wait for
    each other. Results in lane 0."""
    cdef vf lanes[LANE_VECTORS]
    cdef vf others[LANE_VECTORS]
    cdef int64_t i = 0
    cdef int v
    for v in range(LANE_VECTORS):
        lanes[v] = others[v] = nothing(kind)
    while i < SUM_CHUNK:
        for v in range(LANE_VECTORS):
            lanes[v] = combine(kind, lanes[v], vload(p + i + v * VL))
            others[v] = combine(kind, others[v], vload(p + SUM_CHUNK + i + v * VL))
        i += LANES
    one[0], two[0] = fold_lanes(outer_kind(kind), lanes), fold_lanes(outer_kind(kind), others)


cdef inline real reduce_row(int kind, const Operand *x, int64_t first, int64_t n) noexcept nogil:
    """Elements first ... first + n - 1 reduced to one."""
    cdef real buffer[SPAN]
    cdef RowSum row
    cdef vf one, two
    cdef real top
    cdef int64_t i = 0, run, longest = longest_span(x, SUM_CHUNK)
    if n == 1 and kind == SUM:
        return element(x, first) + 0  # a sum starts from 0, which makes 0 of -0
    if n <= longest:
        return reduce_piece(kind, read_span(x, first, n, buffer), n)
    if kind == MAXIMUM and is_contiguous(x) and find_largest(<const real *> x.data + first, n, &top):
        return top
    start_row(kind, &row)
    if is_contiguous(x) and count(x) <= L2_REALS:  # from farther, the processor fetches ahead along one chunk only
        while i + 2 * SUM_CHUNK <= n:
            reduce_two_chunks(kind, <const real *> x.data + first + i, &one, &two)
            add_chunk(outer_kind(kind), &row.total, &row.lost, one)
            add_chunk(outer_kind(kind), &row.total, &row.lost, two)
            i += 2 * SUM_CHUNK
    while i < n:
        run = min(n - i, longest)
        add_run(kind, &row, read_span(x, first + i, run, buffer), run)
        i += run
    return finish_row(kind, &row)


cdef inline vf reduce_rows(int kind, const Operand *x, int64_t first, int64_t rows, int64_t n) noexcept nogil:
    """`rows` rows of n elements, one behind the other, to one number in lane 0."""
    cdef vf part, total = nothing(kind), lost = vsplat(0)
    cdef int64_t row = 0, end
    if rows == 1:
        return vsplat(reduce_row(kind, x, first, n))
    while row < rows:
        end = min(rows, row + ROW_CHUNK)
        part = nothing(kind)
        while row < end:
            part = combine(outer_kind(kind), part, vsplat(reduce_row(kind, x, first + row * n, n)))
            row += 1
        add_chunk(outer_kind(kind), &total, &lost, part)
    return whole(kind, total, lost)


cdef inline int64_t add_axes(Operand *view, const Operand *x, int64_t mask, int end) noexcept nogil:
    """Adds those of the first `end` axes of x that are in a bit mask; returns how many elements they have."""
    cdef int64_t size = 1
    cdef int axis
    for axis in range(end):
        if (mask >> axis) & 1:
            size *= x.shape[axis]
            add_axis(view, x.shape[axis], x.stride[axis])
    return size


cdef struct Reduction:
    # The axes of a reduction, put in order: kept[kept], rows[reduced], columns[kept or reduced].
    Operand x, y
    int64_t kept, rows, columns
    int64_t chunks             # of a row
    bint columns_are_reduced
    real divisor


cdef inline void arrange(Reduction *form, const Operand *x, int64_t mask, int kind) noexcept nogil:
    """Sorts the axes: kept ones, then reduced ones (those in `mask`), then the trailing ones that are all alike."""
    cdef int trailing = x.ndim
    cdef int64_t last = (mask >> (x.ndim - 1)) & 1 if x.ndim else 0
    while trailing > 0 and (mask >> (trailing - 1)) & 1 == last:
        trailing -= 1
    rearrange(&form.x, x)
    form.kept = add_axes(&form.x, x, ~mask, trailing)
    form.rows = add_axes(&form.x, x, mask, trailing)
    form.columns = add_axes(&form.x, x, -(<int64_t> 1 << trailing), x.ndim)
    form.chunks = (form.columns + SUM_CHUNK - 1) // SUM_CHUNK
    form.columns_are_reduced = last
    form.divisor = 1
    if kind == MEAN:
        form.divisor = <real> (form.rows * (form.columns if last else 1))


cdef inline void reduce_to_numbers(int kind, const Reduction *form, int64_t first, int64_t last) noexcept nogil:
    """Results first ... last - 1, the last axis being reduced."""
    cdef int64_t i
    cdef vf total
    if form.rows == 1 and form.chunks <= 1 and is_contiguous(&form.x) and is_contiguous(&form.y):
        for i in range(first, last):
            (<real *> form.y.data)[i] = reduce_piece(
                kind, <const real *> form.x.data + i * form.columns, form.columns) / form.divisor
        return
    for i in range(first, last):
        total = reduce_rows(kind, &form.x, i * form.rows * form.columns, form.rows, form.columns)
        set_element(&form.y, i, vlane0(total) / form.divisor)


cdef inline bint is_shared_by_chunks(const Reduction *form, const real *parts, int n_threads) noexcept nogil:
    return (parts != NULL and form.columns_are_reduced and form.rows == 1 and form.chunks > 1
            and form.kept < n_threads)


cdef inline void reduce_chunks(int kind, const Reduction *form, int64_t first, int64_t last,
                               real *parts) noexcept nogil:
    """Chunks first ... last - 1 of all rows."""
    cdef int64_t i, row, start
    for i in range(first, last):
        row = i // form.chunks
        start = (i - row * form.chunks) * SUM_CHUNK
        parts[i] = reduce_row(kind, &form.x, row * form.columns + start, min(form.columns - start, SUM_CHUNK))


cdef inline void close_chunks(int kind, const Reduction *form, const real *parts) noexcept nogil:
    """All results, from the results of their chunks."""
    cdef vf total, lost
    cdef int64_t i, chunk
    for i in range(form.kept):
        total, lost = nothing(kind), vsplat(0)
        for chunk in range(form.chunks):
            add_chunk(outer_kind(kind), &total, &lost, vsplat(parts[i * form.chunks + chunk]))
        set_element(&form.y, i, vlane0(whole(kind, total, lost)) / form.divisor)


cdef inline void reduce_kind(int kind, const Reduction *form, real *parts, int thread, int n_threads) noexcept nogil:
    cdef int64_t first, last
    if thread == n_threads:  # all shares are done
        if is_shared_by_chunks(form, parts, n_threads):
            close_chunks(kind, form, parts)
        elif is_shared_by_rows(form, parts, n_threads):
            close_chunks_of_rows(kind, form, parts)
    elif is_shared_by_chunks(form, parts, n_threads):
        share(form.kept * form.chunks, 1, thread, n_threads, &first, &last)
        reduce_chunks(kind, form, first, last, parts)
    elif form.columns_are_reduced:
        share(form.kept, 1, thread, n_threads, &first, &last)
        reduce_to_numbers(kind, form, first, last)
    elif is_shared_by_rows(form, parts, n_threads):
        reduce_chunks_of_rows(kind, form, parts, thread, n_threads)
    else:
        reduce_to_columns(kind, form, thread, n_threads)


cdef inline void read_reduction(const Instruction *instruction, Reduction *form) noexcept nogil:
    merge(&form.y, &instruction.operand[0])
    arrange(form, &instruction.operand[1], instruction.integer[1], <int> instruction.integer[0])


cdef int run_reduction(const Instruction *instruction, const Reduction *form, int thread, int n_threads) noexcept nogil:
    cdef int64_t kind = instruction.integer[0]
    cdef real *parts = <real *> instruction.scratch
    if kind == MAXIMUM:
        reduce_kind(MAXIMUM, form, parts, thread, n_threads)
    elif kind == SUM_OF_SQUARES:
        reduce_kind(SUM_OF_SQUARES, form, parts, thread, n_threads)
    else:
        reduce_kind(SUM, form, parts, thread, n_threads)
    return KERNEL_OK


cdef int reduce(const Instruction *instruction, int thread, int n_threads) noexcept nogil:
    """y = x reduced over the axes of a bit mask. Operands: y, x. Integers: kind, mask."""
    cdef Reduction form
    read_reduction(instruction, &form)
    return run_reduction(instruction, &form, thread, n_threads)


cdef int prepared_reduce(const Instruction *instruction, int thread, int n_threads) noexcept nogil:
    return run_reduction(instruction, <const Reduction *> instruction.form, thread, n_threads)


cdef int sum_of_one(const Instruction *instruction, int thread, int n_threads) noexcept nogil:
    """`reduce`, prepared, where there is one number to add up: a sum starts from 0, which makes 0 of -0."""
    (<real *> instruction.operand[0].data)[0] = (<const real *> instruction.operand[1].data)[0] + 0
    return KERNEL_OK


cdef Kernel prepare_reduce(Instruction *instruction, int n_threads) noexcept nogil:
    if count(&instruction.operand[1]) == 1 and instruction.integer[0] in (SUM, MEAN):
        return <Kernel> sum_of_one
    read_reduction(instruction, <Reduction *> instruction.form)
    return <Kernel> prepared_reduce

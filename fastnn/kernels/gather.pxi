# Moving rows: a mini-batch out of the training set by shuffled index (gather), predictions into their array (collect).

ctypedef fused source_type:
    float
    double
    int32_t
    int64_t
    uint8_t

ctypedef fused target_type:
    real
    int32_t
    int64_t


cdef struct Rows:
    # Row i, counted from 0, goes from row `index[start + i]` of the source (start + i without an index) to `to + i`.
    const Operand *source
    const Operand *index
    const Operand *target
    int64_t start, to
    real scale


cdef enum:
    NEAR = 1 << 20      # bytes: a source of this size stays in the cache
    AHEAD = 1 << 10     # bytes of a row to ask for: the processor follows longer runs by itself

cdef extern from *:
    void prefetch "__builtin_prefetch"(const char *place) noexcept nogil


cdef inline int64_t row_size(const Operand *operand) noexcept nogil:
    """Elements in one row."""
    cdef int64_t size = 1
    cdef int axis
    for axis in range(1, operand.ndim):
        size *= operand.shape[axis]
    return size


cdef inline bint is_far(const Operand *source) noexcept nogil:
    """Whether it is too large to stay in the cache."""
    return source.shape[0] * row_size(source) * item_size(source.type) > NEAR


cdef inline int64_t source_row(const Rows *rows, int64_t i) noexcept nogil:
    """Where row i comes from; -1 if there is no such row."""
    cdef const Operand *listed = rows.source if rows.index == NULL else rows.index
    cdef int64_t row = rows.start + i
    if row >= listed.shape[0]:
        return -1
    if rows.index != NULL:
        row = (<const int64_t *> rows.index.data)[row * rows.index.stride[0]]
    return row if 0 <= row < rows.source.shape[0] else -1


cdef inline void fetch_ahead(const char *row, int64_t size) noexcept nogil:
    """Asks memory for the next row while this one is copied: shuffled rows are not where the processor expects them."""
    cdef int64_t i = 0
    while i < min(size, AHEAD):
        prefetch(row + i)
        i += 64


cdef inline void convert_one(const source_type *source, target_type *target, real scale) noexcept nogil:
    """One element in the target's type, multiplied by `scale` if that is real."""
    if target_type is real:
        target[0] = <real> source[0] * scale
    else:
        target[0] = <target_type> source[0]


cdef inline void convert(const source_type *source, int64_t source_stride, target_type *target, int64_t target_stride,
                         int64_t n, real scale) noexcept nogil:
    """The same for n of them."""
    cdef int64_t i
    if source_stride == 1 and target_stride == 1:
        for i in range(n):
            convert_one(source + i, target + i, scale)
    else:
        for i in range(n):
            convert_one(source + i * source_stride, target + i * target_stride, scale)


cdef inline void move_row(const Rows *rows, const source_type *source, target_type *target) noexcept nogil:
    """One row of any strides: source and target have the same shape, so they are walked in step."""
    cdef Walk there, here
    cdef int64_t left = row_size(rows.source)
    if left == 0:
        return
    walk_to(&there, rows.source, 1, 0)
    walk_to(&here, rows.target, 1, 0)
    while left > 0:
        convert(source + there.offset, there.stride, target + here.offset, here.stride, here.left, rows.scale)
        left -= here.left
        walk_on(&there, rows.source)
        walk_on(&here, rows.target)


cdef int move_rows(const Rows *rows, const source_type *source, target_type *target, int64_t first,
                   int64_t last) noexcept nogil:
    """Rows [first, last), each in one piece where it lies in one piece on both sides."""
    cdef int64_t source_stride = rows.source.stride[0], target_stride = rows.target.stride[0]
    cdef int64_t size = row_size(rows.source), i, row = 0, ahead
    cdef bint packed = is_packed(rows.source, 1) and is_packed(rows.target, 1)
    cdef bint far = packed and is_far(rows.source)
    if rows.index == NULL and packed and source_stride == size and target_stride == size:
        convert(source + (rows.start + first) * size, 1, target + (rows.to + first) * size, 1, (last - first) * size,
                rows.scale)
        return KERNEL_OK
    if first < last:
        row = source_row(rows, first)
    for i in range(first, last):
        if row < 0:
            return KERNEL_BAD_INDEX
        ahead = source_row(rows, i + 1)
        if far and ahead >= 0:
            fetch_ahead(<const char *> (source + ahead * source_stride), size * <int64_t> sizeof(source_type))
        if size == 1:
            convert_one(source + row * source_stride, target + (rows.to + i) * target_stride, rows.scale)
        elif packed:
            convert(source + row * source_stride, 1, target + (rows.to + i) * target_stride, 1, size, rows.scale)
        else:
            move_row(rows, source + row * source_stride, target + (rows.to + i) * target_stride)
        row = ahead
    return KERNEL_OK


cdef inline int move_as(const Rows *rows, target_type *target, int64_t first, int64_t last) noexcept nogil:
    """Picks the source's type."""
    cdef const char *source = rows.source.data
    if rows.source.type == TYPE_FLOAT32:
        return move_rows(rows, <const float *> source, target, first, last)
    if rows.source.type == TYPE_FLOAT64:
        return move_rows(rows, <const double *> source, target, first, last)
    if rows.source.type == TYPE_INT32:
        return move_rows(rows, <const int32_t *> source, target, first, last)
    if rows.source.type == TYPE_INT64:
        return move_rows(rows, <const int64_t *> source, target, first, last)
    return move_rows(rows, <const uint8_t *> source, target, first, last)


cdef inline int move_share(const Rows *rows, int64_t n, int thread, int n_threads) noexcept nogil:
    """The thread's share of n rows, after a check that they exist."""
    cdef const Operand *listed = rows.source if rows.index == NULL else rows.index
    cdef char *target = rows.target.data
    cdef int64_t first, last
    if rows.start < 0 or rows.start + n > listed.shape[0] or rows.to < 0 or rows.to + n > rows.target.shape[0]:
        return KERNEL_BAD_INDEX
    share(n, 1, thread, n_threads, &first, &last)
    if rows.target.type == TYPE_INT32:
        return move_as(rows, <int32_t *> target, first, last)
    if rows.target.type == TYPE_INT64:
        return move_as(rows, <int64_t *> target, first, last)
    return move_as(rows, <real *> target, first, last)


cdef inline void read_gather(const Instruction *instruction, Rows *rows) noexcept nogil:
    rows.target = &instruction.operand[0]
    rows.source = &instruction.operand[1]
    rows.index = NULL
    if instruction.operand[2].data != NULL:
        rows.index = &instruction.operand[2]
    rows.to = 0
    rows.scale = <real> instruction.number[0]


cdef inline void note_next(Coming *coming, const Rows *rows, int64_t n) noexcept nogil:
    """Notes the n rows after these n, or as many as there are: the next step's, unless this is the last."""
    cdef const Operand *source = rows.source
    cdef const Operand *listed = source if rows.index == NULL else rows.index
    cdef int64_t each = item_size(source.type), size = row_size(source) * each, stride = source.stride[0] * each
    cdef int64_t first = rows.start + n
    if size < LINE or not is_far(source) or not is_packed(source, 1) or first < 0:
        return
    n = min(n, listed.shape[0] - first)
    if rows.index == NULL:
        note_coming(coming, source.data + first * stride, NULL, stride, size, n)
    elif rows.index.stride[0] == 1:
        note_coming(coming, source.data, <const int64_t *> rows.index.data + first, stride, size, n)


cdef int gather_rows(const Instruction *instruction, int thread, int n_threads) noexcept nogil:
    """batch[i] = source[index[start + i]] * scale, or source[start + i] where there is no index.

    Operands: batch[n, ...]; source[rows, ...], index[total] or absent. Integer 0: column of `start`. Number 0: scale.
    """
    cdef Rows rows
    read_gather(instruction, &rows)
    rows.start = <int64_t> instruction.run[instruction.integer[0]]
    if n_threads == 1 and instruction.coming != NULL:
        note_next(instruction.coming, &rows, rows.target.shape[0])
    return move_share(&rows, rows.target.shape[0], thread, n_threads)


cdef struct NarrowRows:
    # Rows of one vector at most, of the target's type.
    const real *source
    const int64_t *index            # or NULL
    real *target
    int64_t source_rows, stride     # rows of the source, and from one to the next
    int64_t listed, index_stride    # rows to choose from: the index's, or the source's
    int64_t n, size, stored         # rows to move, their elements, and how many are stored: with padding, more
    real scale


cdef inline int64_t listed_row(const NarrowRows *rows, int64_t at) noexcept nogil:
    """Which row is in place `at`; -1 if there is none. A negative number is too large without its sign."""
    if <uint64_t> at >= <uint64_t> rows.listed:
        return -1
    if rows.index != NULL:
        at = rows.index[at * rows.index_stride]
        if <uint64_t> at >= <uint64_t> rows.source_rows:
            return -1
    return at


cdef inline vf narrow_row(const NarrowRows *rows, int64_t row) noexcept nogil:
    return vload_exactly(rows.source + row * rows.stride, rows.size) * vsplat(rows.scale)


cdef inline void ask_for_row(const NarrowRows *rows, int64_t row) noexcept nogil:
    """Asks for a row that will come, if there is one."""
    if row >= 0:
        vprefetch(rows.source + row * rows.stride)


cdef int narrow_gather(const Instruction *instruction, int thread, int n_threads) noexcept nogil:
    """`gather_rows`, prepared. The row after its own is asked for."""
    cdef const NarrowRows *rows = <const NarrowRows *> instruction.form
    cdef int64_t start = <int64_t> instruction.run[instruction.integer[0]], i, row
    for i in range(rows.n):
        row = listed_row(rows, start + i)
        if row < 0:
            return KERNEL_BAD_INDEX
        vstore_exactly(rows.target + i * rows.size, narrow_row(rows, row), rows.stored)
    ask_for_row(rows, listed_row(rows, start + rows.n))
    return KERNEL_OK


cdef Kernel prepare_gather(Instruction *instruction, int n_threads) noexcept nogil:
    cdef NarrowRows *narrow = <NarrowRows *> instruction.form
    cdef Rows rows
    cdef int64_t size
    read_gather(instruction, &rows)
    size = row_size(rows.source)
    if not (n_threads == 1 and 0 < size <= VL and rows.source.type == rows.target.type
            and rows.target.type == (TYPE_FLOAT64 if REAL_IS_DOUBLE else TYPE_FLOAT32)
            and is_packed(rows.source, 1) and is_packed(rows.target, 0)):
        return NULL
    narrow.source, narrow.target = <const real *> rows.source.data, <real *> rows.target.data
    narrow.source_rows, narrow.stride = rows.source.shape[0], rows.source.stride[0]
    narrow.index, narrow.index_stride, narrow.listed = NULL, 0, narrow.source_rows
    if rows.index != NULL:
        narrow.index, narrow.index_stride = <const int64_t *> rows.index.data, rows.index.stride[0]
        narrow.listed = rows.index.shape[0]
    narrow.n, narrow.size, narrow.stored = rows.target.shape[0], size, size
    if narrow.n == 1:
        narrow.stored = with_padding(rows.target, size)
    narrow.scale = rows.scale
    return <Kernel> narrow_gather


cdef int collect_rows(const Instruction *instruction, int thread, int n_threads) noexcept nogil:
    """result[start + i] = batch[i]; the result's other rows stay as they are.

    Operands: result[total, ...]; batch[n, ...]. Integer 0: column of `start`.
    """
    cdef Rows rows
    rows.target = &instruction.operand[0]
    rows.source = &instruction.operand[1]
    rows.index = NULL
    rows.start = 0
    rows.to = <int64_t> instruction.run[instruction.integer[0]]
    rows.scale = 1
    return move_share(&rows, rows.source.shape[0], thread, n_threads)

# Elementwise work on operands of any strides: the axes that several operands have in common, as few as possible, and
# the innermost of them handed on in runs of contiguous elements.

cdef enum:
    NEST_OPERANDS = 4
    LONG_RUN = 1024   # elements from which on it pays to begin at a cache line
    GROUP_CHUNK = 1024  # elements of short rows that make one run, ...
    COPIED_ROW = 64     # ... not counting rows from here on that are only copied for it

# Computes n elements: data[0] is written, the others are read; all contiguous, and data[0] may be one of the others.
ctypedef void (*Run)(const Instruction *instruction, real *const *data, int64_t n) noexcept nogil

cdef struct Nest:
    int n_operands, ndim  # of axes, outermost first; at least one
    int64_t shape[MAX_DIMS]
    int64_t stride[NEST_OPERANDS][MAX_DIMS]
    bint direct           # every operand is contiguous along the innermost axis


cdef inline int64_t broadcast_stride(const Operand *operand, int axis, int ndim) noexcept nogil:
    """The operand's stride along `axis` of the `ndim` axes of the result: 0 where it is repeated."""
    axis -= ndim - operand.ndim
    return 0 if axis < 0 or operand.shape[axis] == 1 else operand.stride[axis]


cdef inline bint continues(const Nest *nest, int outer, int inner) noexcept nogil:
    """Whether every operand goes on along `outer` where it stops along `inner`, so that the two are one axis."""
    cdef int k
    for k in range(nest.n_operands):
        if nest.stride[k][outer] != nest.stride[k][inner] * nest.shape[inner]:
            return False
    return True


cdef inline void move_axis(Nest *nest, int source, int target) noexcept nogil:
    cdef int k
    nest.shape[target] = nest.shape[source]
    for k in range(nest.n_operands):
        nest.stride[k][target] = nest.stride[k][source]


cdef void sort_axes(Nest *nest) noexcept nogil:
    """Orders the axes as the result lies in memory, so that the transpose of an array is as good as the array."""
    cdef int64_t length
    cdef int64_t stride[NEST_OPERANDS]
    cdef int i, j, k
    for i in range(1, nest.ndim):
        length = nest.shape[i]
        for k in range(nest.n_operands):
            stride[k] = nest.stride[k][i]
        j = i
        while j > 0 and llabs(nest.stride[0][j - 1]) < llabs(stride[0]):
            move_axis(nest, j - 1, j)
            j -= 1
        nest.shape[j] = length
        for k in range(nest.n_operands):
            nest.stride[k][j] = stride[k]


cdef void merge_axes(Nest *nest) noexcept nogil:
    """Makes one axis of neighbours that every operand runs through without a jump."""
    cdef int axis, kept = 0
    for axis in range(1, nest.ndim):
        if continues(nest, kept, axis):
            nest.shape[axis] *= nest.shape[kept]
        else:
            kept += 1
        move_axis(nest, axis, kept)
    nest.ndim = kept + 1


cdef int64_t open_nest(Nest *nest, const Operand *operand, int n_operands) noexcept nogil:
    """Lays out the axes of the first operand, the result; returns how many elements it has."""
    cdef int axis, k, ndim = operand.ndim
    cdef int64_t total = 1
    cdef bint sorted = True
    nest.n_operands, nest.ndim, nest.direct = n_operands, 0, True
    for axis in range(ndim):
        total *= operand.shape[axis]
        if operand.shape[axis] == 1:
            continue
        nest.shape[nest.ndim] = operand.shape[axis]
        for k in range(n_operands):
            nest.stride[k][nest.ndim] = broadcast_stride(&operand[k], axis, ndim)
        if nest.ndim and llabs(nest.stride[0][nest.ndim - 1]) < llabs(nest.stride[0][nest.ndim]):
            sorted = False
        nest.ndim += 1
    if nest.ndim == 0:  # a single element
        nest.ndim, nest.shape[0] = 1, 1
        for k in range(n_operands):
            nest.stride[k][0] = 1
    if not sorted:
        sort_axes(nest)
    merge_axes(nest)
    for k in range(n_operands):
        nest.direct = nest.direct and nest.stride[k][nest.ndim - 1] == 1
    return total


cdef inline bint goes_past(const Operand *operand, int n_operands, int64_t total) noexcept nogil:
    """Whether a result is stored past the caches, which then need not read what it overwrites: one that they cannot
    hold, of operands that lie elsewhere."""
    cdef bint past = stores_past and total >= PAST_REALS
    cdef int k
    for k in range(1, n_operands):
        past = past and operand[k].data != operand[0].data
    return past


cdef inline void copy_strided(real *target, int64_t target_stride, const real *source, int64_t source_stride,
                              int64_t n) noexcept nogil:
    cdef int64_t i
    for i in range(n):
        target[i * target_stride] = source[i * source_stride]


cdef inline int64_t head_of_run(const real *p, int64_t n) noexcept nogil:
    """How many of n elements come first, on their own, so that the others fill whole lines; 0 if n is small."""
    return before_line(p) if n >= LONG_RUN else 0


cdef inline void skip(real **data, int n_operands, int64_t n) noexcept nogil:
    """Goes on by n elements."""
    cdef int k
    for k in range(n_operands):
        data[k] += n


cdef inline int64_t run_past(const Instruction *instruction, Run run, real *const *data, int n_operands,
                             int64_t n) noexcept nogil:
    """`run` on as many whole chunks as n elements have, by way of a buffer, from which they are stored past the caches;
    returns how many elements these are. The result begins at a multiple of a vector's bytes."""
    cdef vf chunk[NEST_VECTORS]
    cdef real *place[NEST_OPERANDS]
    cdef int64_t done = 0
    cdef int k
    while done + NEST_CHUNK <= n:
        place[0] = <real *> chunk
        for k in range(1, n_operands):
            place[k] = data[k] + done
        run(instruction, place, NEST_CHUNK)
        for k in range(NEST_VECTORS):
            vstore_past(data[0] + done + k * VL, chunk[k])
        done += NEST_CHUNK
    return done


cdef inline void run_aligned(const Instruction *instruction, Run run, real **data, int n_operands, int64_t n,
                             bint past) noexcept nogil:
    """`run` on n contiguous elements, stored from a cache line's beginning on where there are many."""
    cdef int64_t first = head_of_run(data[0], n)
    past = past and n >= LONG_RUN
    if first > 0:
        run(instruction, data, first)
        skip(data, n_operands, first)
        n -= first
    if past:
        first = run_past(instruction, run, data, n_operands, n)
        skip(data, n_operands, first)
        n -= first
    run(instruction, data, n)


cdef inline void run_row(const Nest *nest, const Instruction *instruction, Run run, real *const *row, int64_t column,
                         int64_t n, bint past) noexcept nogil:
    """n elements of a row, from `column` on; operands that are not contiguous in it go through chunks."""
    cdef real chunk[NEST_OPERANDS][NEST_CHUNK]
    cdef real *data[NEST_OPERANDS]
    cdef int64_t end = column + n, start = column, length, stride
    cdef int k
    while column < end:
        length = end - column if nest.direct else min(NEST_CHUNK, end - column)
        for k in range(nest.n_operands):
            stride = nest.stride[k][nest.ndim - 1]
            data[k] = row[k] + column if stride == 1 else chunk[k]
            if k > 0 and stride != 1 and (stride != 0 or column == start):  # a repeated number is filled in once
                read_block(chunk[k], 0, row[k] + column * stride, 0, stride, 1, length)
        run_aligned(instruction, run, data, nest.n_operands, length, past)
        stride = nest.stride[0][nest.ndim - 1]
        if stride != 1:
            copy_strided(row[0] + column * stride, stride, chunk[0], 1, length)
        column += length


cdef struct RowGroup:
    # Short rows, one behind the other in the result: some of them make one run.
    int64_t most                  # rows in a run; less than 2: a row is a run of its own
    bint repeated[NEST_OPERANDS]  # every row is the same one, ...
    bint filled[NEST_OPERANDS]    # ... of which the chunk holds enough
    real chunk[NEST_OPERANDS][GROUP_CHUNK]


cdef inline bint goes_on(const Nest *nest, int k) noexcept nogil:
    """Whether an operand's next row begins where one ends."""
    return nest.stride[k][nest.ndim - 1] == 1 and nest.stride[k][nest.ndim - 2] == nest.shape[nest.ndim - 1]


cdef inline void start_group(const Nest *nest, RowGroup *group) noexcept nogil:
    """Finds out how many rows to take together. Long ones are not worth copying anew for each run."""
    cdef int64_t n = nest.shape[nest.ndim - 1], longest
    cdef int k
    group.most = 0
    if nest.ndim == 1 or not goes_on(nest, 0):
        return
    group.most = GROUP_CHUNK // n
    for k in range(nest.n_operands):
        group.repeated[k] = nest.ndim == 2 and nest.stride[k][0] == 0
        group.filled[k] = False
        longest = COPIED_ROW if nest.stride[k][nest.ndim - 1] == 1 else NEST_CHUNK
        if n > longest and not (goes_on(nest, k) or group.repeated[k]):
            group.most = 0


cdef inline void run_group(const Nest *nest, const Instruction *instruction, Run run, real *const *row, int64_t rows,
                           RowGroup *group) noexcept nogil:
    """Several whole rows. An operand that does not go on from row to row is copied; one row for all rows only once."""
    cdef real *data[NEST_OPERANDS]
    cdef int64_t n = nest.shape[nest.ndim - 1]
    cdef int k
    for k in range(nest.n_operands):
        data[k] = row[k]
        if goes_on(nest, k):
            continue
        data[k] = group.chunk[k]
        if not group.filled[k]:
            read_block(data[k], n, row[k], nest.stride[k][nest.ndim - 2], nest.stride[k][nest.ndim - 1],
                       group.most if group.repeated[k] else rows, n)
        group.filled[k] = group.repeated[k]
    run(instruction, data, rows * n)


cdef inline void next_row(const Nest *nest, real **row, int64_t *index, int64_t rows) noexcept nogil:
    """Goes on by some rows, which end at the end of the last but one axis at the latest."""
    cdef int axis, k
    for axis in range(nest.ndim - 2, -1, -1):
        index[axis] += rows
        for k in range(nest.n_operands):
            row[k] += rows * nest.stride[k][axis]
        if index[axis] < nest.shape[axis]:
            return
        index[axis] = 0
        for k in range(nest.n_operands):
            row[k] -= nest.shape[axis] * nest.stride[k][axis]
        rows = 1


cdef int elementwise(const Instruction *instruction, int n_operands, Run run, bint light, int thread,
                     int n_threads) noexcept nogil:
    """Applies `run` to the thread's share of the first operand, the others being broadcast to its shape. `light`: it
    takes less time than memory does."""
    cdef Nest nest
    cdef RowGroup group
    cdef int64_t first, last, column, rows, n, position, width
    cdef int64_t total = open_nest(&nest, instruction.operand, n_operands)
    cdef int64_t index[MAX_DIMS]
    cdef real *row[NEST_OPERANDS]
    cdef int k, axis
    cdef bint past = light and goes_past(instruction.operand, n_operands, total)
    share(total, 16, thread, n_threads, &first, &last)
    if first == last:
        return KERNEL_OK
    for k in range(n_operands):
        row[k] = <real *> instruction.operand[k].data
    width = nest.shape[nest.ndim - 1]
    column, position = first % width, first // width
    for axis in range(nest.ndim - 2, -1, -1):
        index[axis] = position % nest.shape[axis]
        position //= nest.shape[axis]
        for k in range(n_operands):
            row[k] += index[axis] * nest.stride[k][axis]
    start_group(&nest, &group)
    while first < last:
        rows, n = 1, min(width - column, last - first)
        if group.most > 1 and n == width:
            rows = min(group.most, (last - first) // width, nest.shape[nest.ndim - 2] - index[nest.ndim - 2])
            n = rows * width
            run_group(&nest, instruction, run, row, rows, &group)
        else:
            run_row(&nest, instruction, run, row, column, n, past)
        next_row(&nest, row, index, rows)
        first += n
        column = 0
    if past:
        vflush_past()
    return KERNEL_OK


cdef struct Flat:
    # Operands of one shape that each lie in one piece: an elementwise instruction, prepared.
    Run run
    int64_t total              # elements, with padding where all have it
    real *data[NEST_OPERANDS]


cdef int prepared_elementwise(const Instruction *instruction, int thread, int n_threads) noexcept nogil:
    cdef const Flat *flat = <const Flat *> instruction.form
    flat.run(instruction, flat.data, flat.total)
    return KERNEL_OK


cdef Kernel prepare_elementwise(Instruction *instruction, int n_operands, Run run, int n_threads) noexcept nogil:
    """The short way for what lies in one piece; what may go past the caches takes the usual one."""
    cdef Flat *flat = <Flat *> instruction.form
    cdef Nest nest
    cdef int64_t total = open_nest(&nest, instruction.operand, n_operands)
    cdef int k
    flat.run = run
    flat.total = with_padding(&instruction.operand[0], total)
    for k in range(n_operands):
        flat.data[k] = <real *> instruction.operand[k].data
        flat.total = min(flat.total, with_padding(&instruction.operand[k], total))
    if n_threads == 1 and nest.ndim == 1 and nest.direct and total < PAST_REALS:
        return <Kernel> prepared_elementwise
    return NULL

# Softmax and cross-entropy in one kernel, value and slope: the loss of a row is the logarithm of the sum of exp(z),
# less the target's logit; its slope is softmax(z) minus the target.


cdef struct CrossEntropy:
    Operand rows, slope, logits, target, weights
    int64_t n, classes
    real scale          # of the slope: 1 / n for that of the rows' mean
    real keep, spread   # label smoothing: a target t becomes keep t + spread
    bint dense          # the target is a row of probabilities, not a label


cdef struct Row:
    # What the passes over one row find out, each number in every lane.
    vf shift                     # the largest logit
    vf inverse, log_total        # 1 / the sum of exp(z - shift), and its logarithm
    vf mass                      # the sum of the targets
    vf scale                     # of the slope, the row's weight included


cdef inline int64_t label_of(const Operand *labels, int64_t row) noexcept nogil:
    cdef Walk place
    cdef int64_t offset = row
    if not is_contiguous(labels):
        walk_to(&place, labels, 0, row)
        offset = place.offset
    if labels.type == TYPE_INT32:
        return (<const int32_t *> labels.data)[offset]
    if labels.type == TYPE_INT64:
        return (<const int64_t *> labels.data)[offset]
    return (<const uint8_t *> labels.data)[offset]


cdef void shift_run(real *y, const real *x, int64_t n, vf shift) noexcept nogil:
    """y = x - shift."""
    cdef int64_t i = 0
    while i < n:
        store_up_to(y + i, load_up_to(x + i, n - i, shift) - shift, n - i)
        i += VL


cdef real shifted_sum(const CrossEntropy *loss, const Row *row, int64_t first) noexcept nogil:
    """The sum of z - shift over a row."""
    cdef real from_z[SPAN]
    cdef real terms[SPAN]
    cdef RowSum sum
    cdef int64_t i = 0, run
    start_row(SUM, &sum)
    while i < loss.classes:
        run = min(loss.classes - i, SPAN)
        shift_run(terms, read_span(&loss.logits, first + i, run, from_z), run, row.shift)
        add_to_sum(&sum, terms, run)
        i += run
    return finish_row(SUM, &sum)


cdef inline vf smoothed(const CrossEntropy *loss, const real *t, int64_t n) noexcept nogil:
    """Up to a vector of targets."""
    return vfma(load_up_to(t, n, vsplat(0)), vsplat(loss.keep), vsplat(loss.spread))


cdef void dense_run(const CrossEntropy *loss, const Row *row, real *values, real *targets, const real *z, const real *t,
                    int64_t n) noexcept nogil:
    """The targets, smoothed, and values = target (log_total - (z - shift))."""
    cdef int64_t i = 0
    cdef vf target
    while i < n:
        target = smoothed(loss, t + i, n - i)
        store_up_to(targets + i, target, n - i)
        store_up_to(values + i, target * (row.log_total - (load_up_to(z + i, n - i, row.shift) - row.shift)), n - i)
        i += VL


cdef real dense_loss(const CrossEntropy *loss, Row *row, int64_t first) noexcept nogil:
    """The loss of a row whose target is a row of probabilities; finds row.mass."""
    cdef real from_z[SPAN]
    cdef real from_t[SPAN]
    cdef real values[SPAN]
    cdef real targets[SPAN]
    cdef const real *z
    cdef RowSum value, mass
    cdef int64_t i = 0, run
    start_row(SUM, &value)
    start_row(SUM, &mass)
    while i < loss.classes:
        run = min(loss.classes - i, SPAN)
        z = read_span(&loss.logits, first + i, run, from_z)
        dense_run(loss, row, values, targets, z, read_span(&loss.target, first + i, run, from_t), run)
        add_to_sum(&value, values, run)
        add_to_sum(&mass, targets, run)
        i += run
    row.mass = vsplat(finish_row(SUM, &mass))
    return finish_row(SUM, &value)


cdef void slope_run_of(const CrossEntropy *loss, const Row *row, real *slope, const real *t, int64_t n) noexcept nogil:
    """slope = (mass slope inverse - target) scale; without targets they are the smoothing alone, and mass is 1."""
    cdef int64_t i = 0
    cdef vf value
    while i < n:
        value = load_up_to(slope + i, n - i, vsplat(0)) * row.inverse
        if t != NULL:
            value = vfma(row.mass, value, -smoothed(loss, t + i, n - i))
        else:
            value = value - vsplat(loss.spread)
        store_up_to(slope + i, value * row.scale, n - i)
        i += VL


cdef void finish_slope(const CrossEntropy *loss, const Row *row, int64_t first) noexcept nogil:
    """Turns the exponentials of a row, which stand in the slope, into the slope; a label's own part is left to do."""
    cdef real to_slope[SPAN]
    cdef real from_t[SPAN]
    cdef real *slope
    cdef const real *t = NULL
    cdef int64_t i = 0, run
    while i < loss.classes:
        run = min(loss.classes - i, SPAN)
        slope = <real *> read_span(&loss.slope, first + i, run, to_slope)
        if loss.dense:
            t = read_span(&loss.target, first + i, run, from_t)
        slope_run_of(loss, row, slope, t, run)
        write_span(&loss.slope, first + i, run, to_slope)
        i += run


cdef inline real loss_with_label(const CrossEntropy *loss, const Row *row, int64_t first, int64_t label) noexcept nogil:
    """The loss of a row with an integer label, and its slope."""
    cdef real value, likelihood
    if loss.slope.data != NULL:
        likelihood = element(&loss.slope, first + label) * vlane0(row.inverse)
        finish_slope(loss, row, first)
        set_element(&loss.slope, first + label, (likelihood - (loss.keep + loss.spread)) * vlane0(row.scale))
    value = vlane0(row.log_total) - loss.keep * (element(&loss.logits, first + label) - vlane0(row.shift))
    if loss.spread != 0:
        value -= loss.spread * shifted_sum(loss, row, first)
    return value


cdef int cross_entropy_rows(const CrossEntropy *loss, int64_t first, int64_t rows) noexcept nogil:
    """Up to VL rows."""
    cdef real shifts[VL]
    cdef real inverses[VL]
    cdef real log_totals[VL]
    cdef int64_t label[VL]
    cdef real value, weight
    cdef bint with_slope = loss.slope.data != NULL
    cdef Row row
    cdef vf shift, total
    cdef int64_t r, start
    for r in range(rows):
        label[r] = 0 if loss.dense else label_of(&loss.target, first + r)
        if label[r] < 0 or label[r] >= loss.classes:
            return KERNEL_BAD_LABEL
    exp_sums(&loss.slope if with_slope else NULL, &loss.logits, first, rows, loss.classes, &shift, &total)
    vstore(shifts, shift)
    vstore(inverses, vsplat(1) / total)
    vstore(log_totals, vlog(total))
    for r in range(rows):
        start = (first + r) * loss.classes
        weight = row_weight(&loss.weights, first + r, loss.n)
        row.shift, row.inverse, row.log_total = vsplat(shifts[r]), vsplat(inverses[r]), vsplat(log_totals[r])
        row.scale = vsplat(weight * loss.scale)
        if loss.dense:
            value = dense_loss(loss, &row, start)
            if with_slope:
                finish_slope(loss, &row, start)
        else:
            value = loss_with_label(loss, &row, start, label[r])
        if loss.rows.data != NULL:
            set_element(&loss.rows, first + r, value * weight)
    return KERNEL_OK


cdef struct Block:
    # The same for up to VL rows of at most LANES classes, a lane each: z - shift, its exponentials and the targets.
    real z[LANES * VL]
    real e[LANES * VL]
    real t[LANES * VL]
    int64_t label[VL]
    vf inverse, log_total, scale


cdef vf block_with_labels(const CrossEntropy *loss, Block *block, int64_t rows) noexcept nogil:
    """The losses of rows with integer labels; the slopes take the exponentials' place."""
    cdef real z[VL]
    cdef real e[VL]
    cdef vf value, slope
    cdef int64_t r, c
    for r in range(VL):
        z[r] = block.z[block.label[r] * VL + r]
        e[r] = block.e[block.label[r] * VL + r]
    value = block.log_total - vsplat(loss.keep) * vload(z)
    if loss.spread != 0:
        value = value - vsplat(loss.spread) * block_sum(block.z, loss.classes)
    for c in range(loss.classes):
        slope = (vload(block.e + c * VL) * block.inverse - vsplat(loss.spread)) * block.scale
        vstore(block.e + c * VL, slope)
    vstore(e, (vload(e) * block.inverse - vsplat(loss.keep + loss.spread)) * block.scale)
    for r in range(rows):
        block.e[block.label[r] * VL + r] = e[r]
    return value


cdef vf block_with_probabilities(const CrossEntropy *loss, Block *block) noexcept nogil:
    """The losses of rows with probabilities for targets; the slopes take the exponentials' place."""
    cdef vf target, mass, value
    cdef int64_t c
    for c in range(loss.classes):
        target = smoothed(loss, block.t + c * VL, VL)
        vstore(block.t + c * VL, target)
        vstore(block.z + c * VL, target * (block.log_total - vload(block.z + c * VL)))
    mass = block_sum(block.t, loss.classes)
    for c in range(loss.classes):
        value = vfma(mass, vload(block.e + c * VL) * block.inverse, -vload(block.t + c * VL))
        vstore(block.e + c * VL, value * block.scale)
    return block_sum(block.z, loss.classes)


cdef int cross_entropy_block(const CrossEntropy *loss, int64_t first, int64_t rows) noexcept nogil:
    """`cross_entropy_rows` for short rows, with the same bits."""
    cdef Block block
    cdef real weights[VL]
    cdef real values[VL]
    cdef vf value
    cdef int64_t r
    for r in range(VL):
        weights[r] = row_weight(&loss.weights, first + r, loss.n) if r < rows else 0
        block.label[r] = label_of(&loss.target, first + r) if r < rows and not loss.dense else 0
        if block.label[r] < 0 or block.label[r] >= loss.classes:
            return KERNEL_BAD_LABEL
    load_block(block.z, &loss.logits, first, rows, loss.classes)
    exp_block(block.e, block.z, loss.classes, block_maximum(block.z, loss.classes))
    value = block_sum(block.e, loss.classes)
    block.inverse, block.log_total = vsplat(1) / value, vlog(value)
    block.scale = vload(weights) * vsplat(loss.scale)
    if loss.dense:
        load_block(block.t, &loss.target, first, rows, loss.classes)
        value = block_with_probabilities(loss, &block)
    else:
        value = block_with_labels(loss, &block, rows)
    vstore(values, value * vload(weights))
    if loss.slope.data != NULL:
        store_block(block.e, &loss.slope, first, rows, loss.classes)
    if loss.rows.data != NULL:
        put_span(&loss.rows, first, rows, values)
    return KERNEL_OK


cdef void read_cross_entropy(const Instruction *instruction, CrossEntropy *loss) noexcept nogil:
    cdef const Operand *logits = &instruction.operand[2]
    cdef double smoothing = instruction.number[0]
    merge(&loss.rows, &instruction.operand[0])
    merge(&loss.slope, &instruction.operand[1])
    merge(&loss.logits, logits)
    merge(&loss.target, &instruction.operand[3])
    merge(&loss.weights, &instruction.operand[4])
    loss.classes = logits.shape[logits.ndim - 1]
    loss.n = count(logits) // max(loss.classes, 1)
    loss.scale = <real> (1.0 / loss.n) if instruction.integer[0] else 1
    loss.keep = <real> (1.0 - smoothing)
    loss.spread = <real> (smoothing / loss.classes)
    loss.dense = instruction.operand[3].type == logits.type


cdef int run_cross_entropy(const CrossEntropy *loss, int thread, int n_threads) noexcept nogil:
    cdef int64_t first, last, rows
    cdef int status = KERNEL_OK
    share(loss.n, 1, thread, n_threads, &first, &last)
    while first < last and status == KERNEL_OK:
        rows = min(last - first, rows_together(loss.classes))
        if loss.classes <= LANES and last - first > FEW_ROWS:
            status = cross_entropy_block(loss, first, rows)
        else:
            status = cross_entropy_rows(loss, first, rows)
        first += rows
    return status


cdef int cross_entropy(const Instruction *instruction, int thread, int n_threads) noexcept nogil:
    """Operands: rows[...], slope[..., classes], logits[..., classes], target, weights or none.

    The target is integer labels[...] or probabilities[..., classes]. Integers: whether the slope is that of the rows'
    mean (or of their sum). Numbers: the label smoothing.
    """
    cdef CrossEntropy loss
    read_cross_entropy(instruction, &loss)
    return run_cross_entropy(&loss, thread, n_threads)


cdef int prepared_cross_entropy(const Instruction *instruction, int thread, int n_threads) noexcept nogil:
    return run_cross_entropy(<const CrossEntropy *> instruction.form, thread, n_threads)


cdef Kernel prepare_cross_entropy(Instruction *instruction, int n_threads) noexcept nogil:
    read_cross_entropy(instruction, <CrossEntropy *> instruction.form)
    return <Kernel> prepared_cross_entropy

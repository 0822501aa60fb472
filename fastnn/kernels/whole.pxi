# A training step of a small network in one go: one row, dense layers of no more numbers than a vector has, a loss that
# is a sum over elements, plain gradient descent.
#
# Instruction by instruction, most of such a step is spent between them: each has some bookkeeping, and waits until it
# can load what the one before has stored. Here a row is handed on in registers. The arithmetic is that of the
# instructions, and so are the bits; what they leave in the arena, nobody but they would read.

cdef enum:
    MOST_LAYERS = 4
    STEPS_AHEAD = 2  # so many steps before its own a row is asked for; one was measured to be too late


cdef struct WholeLayer:
    int64_t inputs, outputs
    real *weight                        # inputs x outputs
    real *bias                          # or NULL
    int code                            # of its activation
    real parameter
    bint at_sum                         # the slope is taken there, not at the activation


cdef struct WholeStep:
    int depth
    WholeLayer layer[MOST_LAYERS]
    const NarrowRows *x
    const NarrowRows *target            # its rows with the same numbers
    int64_t start                       # slot of both rows' place
    const Instruction *update           # all have the same learning rate
    const PointwiseLoss *loss
    int64_t slot                        # of the loss


# ------------------------------------------------------------------------------------------------------ the step


cdef inline vf sums_in(const WholeLayer *layer, vf *x, real *turned, int64_t outputs) noexcept nogil:
    cdef vf sum = vsplat(0)
    cdef int64_t i, j
    if layer.bias != NULL:
        sum = vload_exactly(layer.bias, outputs)
    sum = times_rows(<const real *> x, 1, layer.weight, outputs, layer.inputs, outputs, sum)
    if turned != NULL:
        for i in range(layer.inputs):
            for j in range(outputs):
                turned[j * layer.inputs + i] = layer.weight[i * outputs + j]
    return sum


cdef inline vf sums_of(const WholeLayer *layer, vf *x, real *turned) noexcept nogil:
    """What goes into a layer's activation; unless NULL, `turned` gets the weight's columns as rows, for the way back.

    A usual width is a constant for the compiler, by which it chooses how rows are loaded and stored.
    """
    if layer.outputs == LANE:
        return sums_in(layer, x, turned, LANE)
    if layer.outputs == LANE // 2:
        return sums_in(layer, x, turned, LANE // 2)
    if layer.outputs == 2 * LANE:
        return sums_in(layer, x, turned, 2 * LANE)
    if layer.outputs == VL:
        return sums_in(layer, x, turned, VL)
    return sums_in(layer, x, turned, layer.outputs)


cdef inline void update_row(real *row, vf factor, real x, vf slope, int64_t lanes) noexcept nogil:
    """row += factor (x slope)."""
    vstore_exactly(row, vfma(factor, vfma(vsplat(x), slope, vsplat(0)), vload_exactly(row, lanes)), lanes)


cdef inline void update_in(const WholeLayer *layer, vf factor, vf *x, vf slope, int64_t outputs) noexcept nogil:
    cdef real *row = layer.weight
    cdef int64_t i
    for i in range(layer.inputs):
        update_row(row, factor, (<const real *> x)[i], slope, outputs)
        row += outputs
    if layer.bias != NULL:
        update_row(layer.bias, factor, 1, slope, outputs)


cdef inline void update_layer(const WholeLayer *layer, vf factor, vf *x, vf slope) noexcept nogil:
    """Weight and bias change by `factor` times their gradients, x slope and slope."""
    if layer.outputs == LANE:
        update_in(layer, factor, x, slope, LANE)
    elif layer.outputs == LANE // 2:
        update_in(layer, factor, x, slope, LANE // 2)
    elif layer.outputs == 2 * LANE:
        update_in(layer, factor, x, slope, 2 * LANE)
    elif layer.outputs == VL:
        update_in(layer, factor, x, slope, VL)
    else:
        update_in(layer, factor, x, slope, layer.outputs)


cdef inline real sum_of_lanes(vf x, int64_t n) noexcept nogil:
    """What `reduce_piece` makes of a row of n numbers: of its folds, those that add zeros are left out."""
    cdef vf sum = vselect(vleading(n), x, vsplat(0)) + vsplat(0)
    cdef int half = VL // 2
    while half >= 1:
        if half < n:
            sum = sum + vdown(sum, half)
        half //= 2
    return vlane0(sum)


cdef int whole_step(const Instruction *instruction, int thread, int n_threads) noexcept nogil:
    """The step that `prepare_whole` has found, with this run row."""
    cdef const WholeStep *step = <const WholeStep *> instruction.form
    cdef const PointwiseLoss *loss = step.loss
    cdef const WholeLayer *layer
    cdef int64_t start = <int64_t> instruction.run[step.start]
    cdef int64_t row = listed_row(step.x, start), later_row = listed_row(step.x, start + STEPS_AHEAD)
    cdef vf x[MOST_LAYERS + 1]          # what goes into each layer, and the prediction
    cdef vf sum[MOST_LAYERS]            # before each activation
    cdef real turned[MOST_LAYERS][VL * VL]
    cdef vf factor, value, slope, below
    cdef vf passed[1]
    cdef int i
    if row < 0:
        return KERNEL_BAD_INDEX
    x[0] = narrow_row(step.x, row)
    ask_for_row(step.x, later_row)
    ask_for_row(step.target, later_row)
    for i in range(step.depth):
        layer = &step.layer[i]
        sum[i] = sums_of(layer, &x[i], turned[i] if i > 0 else NULL)
        x[i + 1] = function(layer.code, sum[i], vsplat(layer.parameter))
    value = loss_of(loss.kind, x[step.depth], narrow_row(step.target, row), vsplat(loss.parameter), &slope)
    (<double *> instruction.run)[step.slot] = sum_of_lanes(value, loss.m) / loss.divisor + 0
    slope = slope * vsplat(loss.scale)
    below = slope
    factor = vsplat(update_factor(step.update, instruction.run))
    for i in range(step.depth - 1, -1, -1):
        layer = &step.layer[i]
        slope = slope_times(layer.code, slope, sum[i] if layer.at_sum else x[i + 1], vsplat(layer.parameter))
        if i > 0:
            passed[0] = slope
            below = times_rows(<const real *> passed, 1, turned[i], layer.inputs, layer.outputs, layer.inputs,
                               vsplat(0))
        update_layer(layer, factor, &x[i], slope)
        slope = below
    return KERNEL_OK


# --------------------------------------------------------------------------------------------- finding such a step
#
# Each of these says whether an instruction is what it might be, and writes down what follows from that.


cdef struct Trail:
    # Where the rows lie that the instructions of such a step hand to each other.
    const char *x[MOST_LAYERS + 1]
    const char *sum[MOST_LAYERS]        # NULL: nobody asks for them
    const char *slope[MOST_LAYERS]      # by each layer's sums; NULL: that was not found so far
    const char *target
    bint weight_is_updated[MOST_LAYERS]
    bint bias_is_updated[MOST_LAYERS]


cdef inline bint is_row(const Operand *operand) noexcept nogil:
    """Whether it is one row of no more numbers than a vector has."""
    return operand.ndim == 2 and operand.shape[0] == 1 and 0 < operand.shape[1] <= VL


cdef inline const char *data_of(const Instruction *instruction, int i) noexcept nogil:
    """Where operand i lies; NULL if there is none."""
    return instruction.operand[i].data if i < instruction.n_operands else NULL


cdef inline bint is_layer(const Instruction *forward, WholeStep *step, Trail *trail) noexcept nogil:
    """The next layer: a product of what the last one gave and a weight."""
    cdef WholeLayer *layer = &step.layer[step.depth]
    cdef const Operand *weight = &forward.operand[3]
    if (step.depth == MOST_LAYERS or data_of(forward, 2) != trail.x[step.depth] or not is_row(&forward.operand[0])
            or forward.integer[0] or forward.integer[1] or forward.integer[2] or forward.integer[3] == SLOPE):
        return False
    layer.inputs, layer.outputs = weight.shape[0], weight.shape[1]
    layer.weight, layer.bias = <real *> weight.data, <real *> data_of(forward, 4)
    layer.code = <int> forward.integer[4] if forward.integer[3] == FORWARD else F_IDENTITY
    layer.parameter = <real> forward.number[0] if forward.integer[3] == FORWARD else 0
    layer.at_sum = False
    trail.sum[step.depth], trail.slope[step.depth] = data_of(forward, 1), NULL
    trail.weight_is_updated[step.depth], trail.bias_is_updated[step.depth] = False, layer.bias == NULL
    step.depth += 1
    trail.x[step.depth] = forward.operand[0].data
    return True


cdef inline bint lists_same(const NarrowRows *a, const NarrowRows *b) noexcept nogil:
    return (a.index == b.index and a.index_stride == b.index_stride and a.listed == b.listed
            and a.source_rows == b.source_rows)


cdef inline bint is_loss(const Instruction *loss, const Instruction *mean, const Instruction *note, WholeStep *step,
                         Trail *trail) noexcept nogil:
    """The loss of the last layer's row and the target, its mean, and that this is recorded."""
    step.loss, step.slot = <const PointwiseLoss *> loss.form, note.integer[0]
    trail.slope[step.depth - 1] = data_of(loss, 1)
    return (data_of(loss, 2) == trail.x[step.depth] and data_of(loss, 3) == trail.target
            and data_of(loss, 4) == NULL and data_of(loss, 1) != NULL
            and data_of(mean, 1) == data_of(loss, 0) and data_of(note, 0) == data_of(mean, 0))


cdef inline bint has_slope(const Instruction *backward, int64_t code, const char *at, int i, WholeStep *step,
                           Trail *trail) noexcept nogil:
    """A multiplication by the slope of layer i's activation, taken at its sums or at what came of them."""
    cdef WholeLayer *layer = &step.layer[i]
    trail.slope[i] = data_of(backward, 0)
    layer.at_sum = at == trail.sum[i]
    return (code == layer.code and <real> backward.number[0] == layer.parameter
            and (layer.at_sum or at == trail.x[i + 1]))


cdef inline bint goes_back(const Instruction *backward, int i, WholeStep *step, Trail *trail) noexcept nogil:
    """A product that takes the slope of layer i, before its weight changes, to the layer before it."""
    cdef const WholeLayer *layer = &step.layer[i]
    if (i == 0 or trail.weight_is_updated[i] or data_of(backward, 3) != <const char *> layer.weight
            or backward.integer[0] or not backward.integer[1] or backward.integer[2] or data_of(backward, 4) != NULL):
        return False
    if backward.integer[3] == SLOPE:
        return has_slope(backward, backward.integer[4], data_of(backward, 5), i - 1, step, trail)
    trail.slope[i - 1] = data_of(backward, 0)
    return backward.integer[3] == NO_EPILOGUE and step.layer[i - 1].code == F_IDENTITY


cdef inline bint has_rate(const Instruction *change, WholeStep *step) noexcept nogil:
    """An update at the learning rate of the others."""
    if step.update == NULL:
        step.update = change
    return change.integer[0] == step.update.integer[0] and change.number[0] == step.update.number[0]


cdef inline bint leads_back(const Instruction *each, Kernel kernel, WholeStep *step, Trail *trail) noexcept nogil:
    """An update of the layer whose slope it reads, or the product with that layer's weight."""
    cdef WholeLayer *layer
    cdef int i
    for i in range(step.depth):
        layer = &step.layer[i]
        if trail.slope[i] == NULL:
            continue
        if kernel == <Kernel> sum_update and data_of(each, 1) == trail.slope[i] and not trail.bias_is_updated[i]:
            trail.bias_is_updated[i] = True
            return has_rate(each, step) and data_of(each, 0) == <const char *> layer.bias and each.integer[1] == 1
        if kernel == <Kernel> product_update and data_of(each, 3) == trail.slope[i] and not trail.weight_is_updated[i]:
            trail.weight_is_updated[i] = True
            return (has_rate(each, step) and data_of(each, 0) == <const char *> layer.weight
                    and data_of(each, 2) == trail.x[i] and each.integer[1] and not each.integer[2])
        if kernel == <Kernel> product and data_of(each, 2) == trail.slope[i]:
            return goes_back(each, i, step, trail)
    return False


cdef Kernel prepare_whole(Instruction *together, const Instruction *each, const Kernel *general, int n) noexcept nogil:
    """Returns `whole_step` if n instructions, prepared one by one, are such a step and no more."""
    cdef WholeStep *step = <WholeStep *> together.form
    cdef Trail trail
    cdef int i = 1
    step.depth, step.update = 0, NULL
    if n < 1 or not (each[0].kernel == <Kernel> narrow_gather and is_row(&each[0].operand[0])):
        return NULL
    step.x, step.start, trail.x[0] = <const NarrowRows *> each[0].form, each[0].integer[0], each[0].operand[0].data
    while i < n and general[i] == <Kernel> product:
        if not is_layer(&each[i], step, &trail):
            return NULL
        i += 1
    if (step.depth == 0 or i + 4 > n or each[i].kernel != <Kernel> narrow_gather or each[i].integer[0] != step.start
            or each[i + 1].kernel != <Kernel> prepared_pointwise or each[i + 2].kernel != <Kernel> sum_of_one
            or general[i + 3] != <Kernel> record):
        return NULL
    step.target, trail.target = <const NarrowRows *> each[i].form, each[i].operand[0].data
    if not lists_same(step.x, step.target) or not is_loss(&each[i + 1], &each[i + 2], &each[i + 3], step, &trail):
        return NULL
    i += 4
    if step.layer[step.depth - 1].code != F_IDENTITY:
        if (i == n or general[i] != <Kernel> slope or data_of(&each[i], 1) != trail.slope[step.depth - 1]
                or not has_slope(&each[i], each[i].integer[0], data_of(&each[i], 2), step.depth - 1, step, &trail)):
            return NULL
        i += 1
    while i < n:
        if not leads_back(&each[i], general[i], step, &trail):
            return NULL
        i += 1
    for i in range(step.depth):
        if not trail.weight_is_updated[i] or not trail.bias_is_updated[i]:
            return NULL
    return <Kernel> whole_step

# Losses that are sums over elements: value and slope in one pass over the prediction.
#
# A loss kernel writes one number a row, `rows` (weighted, not yet averaged), and the slope of their mean with respect
# to the prediction. Threads share the rows; their mean is another instruction. An absent output is skipped.

cdef enum:  # kinds of `pointwise_loss`, as in ops/loss.py
    QUADRATIC = 0
    SQUARED_ERROR = 1
    ABSOLUTE_ERROR = 2
    HUBER = 3
    HINGE = 4
    BINARY_CROSS_ENTROPY = 5
    PERCEPTRON = 6


cdef inline vf loss_of(int kind, vf p, vf t, vf a, vf *slope) noexcept nogil:
    """One element's loss and its derivative by the prediction; `a` is Huber's delta or the label smoothing."""
    cdef vf zero = vsplat(0), one = vsplat(1), half = vsplat(0.5), d = p - t, e
    if kind == QUADRATIC:
        slope[0] = d
        return half * d * d
    if kind == SQUARED_ERROR:
        slope[0] = d + d
        return d * d
    if kind == ABSOLUTE_ERROR:
        slope[0] = function(F_SIGN, d, a)
        return vabs(d)
    if kind == HUBER:
        e = vmin(a, vmax(-a, d))
        slope[0] = e
        return e * (d - half * e)
    if kind == HINGE:
        e = vfma(-t, p, one)
        slope[0] = vselect(vless(zero, e), -t, zero)
        return vmax(zero, e)
    if kind == BINARY_CROSS_ENTROPY:
        t = vfma(t, one - a, half * a)
        e = vexp_negative(vminus_abs(p))
        slope[0] = vselect_signed(p, e, one) / (one + e) - t
        return vfma(-p, t, vmax(zero, p)) + log_sum(zero, e)
    e = function(F_STEP, p, a)  # a perceptron's output
    slope[0] = e - t
    return vabs(e - t) * vabs(p)


cdef inline void loss_loop(int kind, real parameter, real scale, real *values, real *slope, const real *p,
                           const real *t, int64_t n) noexcept nogil:
    cdef vf value, derivative, zero = vsplat(0)
    cdef int64_t i = 0
    while i < n:
        value = loss_of(kind, load_up_to(p + i, n - i, zero), load_up_to(t + i, n - i, zero), vsplat(parameter),
                        &derivative)
        store_up_to(values + i, value, n - i)
        if slope != NULL:
            store_up_to(slope + i, derivative * vsplat(scale), n - i)
        i += VL


cdef void loss_run(int kind, real parameter, real scale, real *values, real *slope, const real *p, const real *t,
                   int64_t n) noexcept nogil:
    """Losses of n elements and, unless NULL, their slopes times `scale`. In each loop the kind is a constant."""
    if kind == QUADRATIC:
        loss_loop(QUADRATIC, parameter, scale, values, slope, p, t, n)
    elif kind == SQUARED_ERROR:
        loss_loop(SQUARED_ERROR, parameter, scale, values, slope, p, t, n)
    elif kind == ABSOLUTE_ERROR:
        loss_loop(ABSOLUTE_ERROR, parameter, scale, values, slope, p, t, n)
    elif kind == HUBER:
        loss_loop(HUBER, parameter, scale, values, slope, p, t, n)
    elif kind == HINGE:
        loss_loop(HINGE, parameter, scale, values, slope, p, t, n)
    elif kind == BINARY_CROSS_ENTROPY:
        loss_loop(BINARY_CROSS_ENTROPY, parameter, scale, values, slope, p, t, n)
    else:
        loss_loop(PERCEPTRON, parameter, scale, values, slope, p, t, n)


cdef inline real row_weight(const Operand *weights, int64_t row, int64_t rows) noexcept nogil:
    """The weight of a row: 1 without weights; one weight may serve several neighbouring rows."""
    cdef int64_t n
    if weights.data == NULL:
        return 1
    n = count(weights)
    return element(weights, row if n == rows else row // (rows // n))


cdef struct PointwiseLoss:
    Operand rows, slope, prediction, target, weights
    int kind
    int64_t n, m     # rows, and elements of a row
    int64_t reached  # elements that one direct row reads and writes
    real divisor     # of a row's sum
    real scale       # of the slope: one over what the value is averaged over
    real parameter
    bint direct      # rows of at most LANES elements, without weights, each operand in one piece


cdef void loss_span(const PointwiseLoss *loss, int64_t first, int64_t n, real *values) noexcept nogil:
    """The losses of up to SPAN elements, and their slopes, weighted."""
    cdef real from_p[SPAN]
    cdef real from_t[SPAN]
    cdef real to_slope[SPAN]
    cdef real *slope = NULL
    cdef real weight
    cdef int64_t i = 0, row_end
    if loss.slope.data != NULL:
        slope = span_target(&loss.slope, first, to_slope)
    loss_run(loss.kind, loss.parameter, loss.scale, values, slope, read_span(&loss.prediction, first, n, from_p),
             read_span(&loss.target, first, n, from_t), n)
    if slope == NULL:
        return
    if loss.weights.data != NULL:
        while i < n:
            weight = row_weight(&loss.weights, (first + i) // loss.m, loss.n)
            row_end = min(n, ((first + i) // loss.m + 1) * loss.m - first)
            while i < row_end:
                slope[i] *= weight
                i += 1
    write_span(&loss.slope, first, n, to_slope)


cdef inline void put_rows(const PointwiseLoss *loss, int64_t first, int64_t n, real *sums) noexcept nogil:
    """Weights the sums of some rows and writes them."""
    cdef int64_t i
    if loss.rows.data == NULL:
        return
    if loss.weights.data != NULL:
        for i in range(n):
            sums[i] *= row_weight(&loss.weights, first + i, loss.n)
    put_span(&loss.rows, first, n, sums)


cdef inline void short_rows(const PointwiseLoss *loss, int64_t first, int64_t last) noexcept nogil:
    """Rows of at most LANES elements: as many as fit into a span, then blocks of VL."""
    cdef real block[LANES * VL]
    cdef real values[SPAN]
    cdef real sums[VL]
    cdef Operand source
    cdef int64_t group, done, rows
    rearrange(&source, &loss.prediction)
    while first < last:
        group = min(last - first, SPAN // LANES * (LANES // max(loss.m, 1)))
        loss_span(loss, first * loss.m, group * loss.m, values)
        done = 0
        while done < group:
            rows = min(group - done, VL)
            source.data = <char *> (values + done * loss.m)
            load_block(block, &source, 0, rows, loss.m)
            vstore(sums, block_sum(block, loss.m) / vsplat(loss.divisor))
            put_rows(loss, first + done, rows, sums)
            done += rows
        first += group


cdef inline void direct_rows(const PointwiseLoss *loss, int64_t first, int64_t last) noexcept nogil:
    """Rows one by one, where there is nothing to find out about any of them."""
    cdef real values[LANES]
    cdef real *slope = <real *> loss.slope.data
    cdef real *rows = <real *> loss.rows.data
    cdef const real *prediction = <const real *> loss.prediction.data
    cdef const real *target = <const real *> loss.target.data
    cdef int64_t number, at
    for number in range(first, last):
        at = number * loss.m
        loss_run(loss.kind, loss.parameter, loss.scale, values, NULL if slope == NULL else slope + at,
                 prediction + at, target + at, loss.reached)
        if rows != NULL:
            rows[number] = reduce_piece(SUM, values, loss.m) / loss.divisor


cdef inline void long_rows(const PointwiseLoss *loss, int64_t first, int64_t last) noexcept nogil:
    cdef real values[SPAN]
    cdef RowSum row
    cdef real sum
    cdef int64_t number, i, run
    for number in range(first, last):
        start_row(SUM, &row)
        i = 0
        while i < loss.m:
            run = min(loss.m - i, SPAN)
            loss_span(loss, number * loss.m + i, run, values)
            add_to_sum(&row, values, run)
            i += run
        sum = finish_row(SUM, &row) / loss.divisor
        put_rows(loss, number, 1, &sum)


cdef void read_pointwise(const Instruction *instruction, PointwiseLoss *loss) noexcept nogil:
    cdef const Operand *prediction = &instruction.operand[2]
    merge(&loss.rows, &instruction.operand[0])
    merge(&loss.slope, &instruction.operand[1])
    merge(&loss.prediction, prediction)
    merge(&loss.target, &instruction.operand[3])
    merge(&loss.weights, &instruction.operand[4])
    loss.kind = <int> instruction.integer[0]
    loss.n = prediction.shape[0]
    loss.m = count(prediction) // max(loss.n, 1)
    loss.divisor = 1 if loss.kind == QUADRATIC or loss.kind == PERCEPTRON else <real> loss.m
    loss.scale = <real> (1.0 / (loss.divisor * (loss.n if instruction.integer[1] else 1)))
    loss.parameter = <real> instruction.number[0]
    loss.direct = (loss.m <= LANES and loss.weights.data == NULL and is_contiguous(&loss.prediction)
                   and is_contiguous(&loss.target) and is_contiguous(&loss.slope) and is_contiguous(&loss.rows))
    loss.reached = loss.m
    if loss.n == 1 and loss.prediction.padded and (loss.slope.data == NULL or loss.slope.padded):
        loss.reached = with_padding(&loss.target, loss.m)


cdef int run_pointwise(const PointwiseLoss *loss, int thread, int n_threads) noexcept nogil:
    cdef int64_t first, last
    share(loss.n, 1, thread, n_threads, &first, &last)
    if loss.direct and last - first <= FEW_ROWS:
        direct_rows(loss, first, last)
    elif loss.m <= LANES:
        short_rows(loss, first, last)
    else:
        long_rows(loss, first, last)
    return KERNEL_OK


cdef int pointwise_loss(const Instruction *instruction, int thread, int n_threads) noexcept nogil:
    """Operands: rows[n], slope[n, ...], prediction[n, ...], target[n, ...], weights[n] or none.

    Integers: kind; whether the slope is that of the rows' mean (or of their sum). Numbers: Huber's delta or the label
    smoothing.
    """
    cdef PointwiseLoss loss
    read_pointwise(instruction, &loss)
    return run_pointwise(&loss, thread, n_threads)


cdef int prepared_pointwise(const Instruction *instruction, int thread, int n_threads) noexcept nogil:
    return run_pointwise(<const PointwiseLoss *> instruction.form, thread, n_threads)


cdef Kernel prepare_pointwise(Instruction *instruction, int n_threads) noexcept nogil:
    read_pointwise(instruction, <PointwiseLoss *> instruction.form)
    return <Kernel> prepared_pointwise

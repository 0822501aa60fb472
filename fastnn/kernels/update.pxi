# Updates: how a gradient changes a parameter and what its optimizer remembers, in one pass over memory.
#
# The order of arithmetic, `fma` being rounded once where the level can and twice on v2. First the gradient:
#     g = g * scale, where the global norm is limited        g = min(clip, max(-clip, g)), where values are limited
#     g = fma(l2, p, g), where l2 is not 0                   g = fma(l1, sign(p), g), where l1 is not 0
# then the rule, with parameter p, states s and t, and `first` and `second` its numbers (see fastnn/ops/update.py):
#     SGD       p = fma(-rate, g, p)
#     MOMENTUM  s = fma(first, s, (1 - second) g)                     p = fma(-rate, s, p)
#     NESTEROV  the same s                                            p = fma(-rate, fma(first, s, g), p)
#     RMSPROP   s = fma(second, s, ((1 - second) g) g)                p = fma(-rate, g / (sqrt(s) + eps), p)
#     HEAVY_RMSPROP  the same s, t = fma(first, t, g / (sqrt(s) + eps))  p = fma(-rate, t, p)
#     ADAGRAD   s = fma(g, g, s)                                      p = fma(-rate, g / (sqrt(s) + eps), p)
#     ADAM      s = fma(1 - first, g - s, s)                          t = fma(second, t, ((1 - second) g) g)
#               p = fma(-rate / correction1, s / fma(sqrt(t), 1 / sqrt(correction2), eps), p (1 - rate decay))
# What is made of hyperparameters alone is computed in double and rounded once. A state below the smallest normal number
# then becomes 0: where the gradient stays 0, the states decay until they are such denormal numbers, and never to 0; and
# on some processors each operation on one of those takes a hundred times as long.

cdef enum:  # in the order of RULES in ops/update.py
    RULE_SGD, RULE_MOMENTUM, RULE_NESTEROV, RULE_RMSPROP, RULE_HEAVY_RMSPROP, RULE_ADAGRAD, RULE_ADAM

cdef enum:
    NORM_CHUNK = 4096  # squares are summed by so many, and the sums added in order

cdef extern from "<math.h>":
    double sqrt(double x) noexcept nogil
    double INFINITY

cdef struct Hyper:
    # A rule's numbers in one step, as the loops want them.
    bint scaled, clipped, adjusted  # which changes of the gradient are asked for; adjusted: any of them
    real scale, clip, l1, l2
    real down                       # -rate, for Adam divided by correction1
    real keep                       # 1 - rate * decay
    real first, not_first           # momentum or beta1, and 1 - that
    real second, not_second         # dampening, alpha or beta2, and 1 - that
    real root                       # 1 / sqrt(correction2)
    real eps


cdef inline void hyper_start(Hyper *h, const double *number, const real *scale, double rate, double correction1,
                             double correction2) noexcept nogil:
    """Fills in what is the same for all elements.

    number: what `rate` is multiplied by, decay, l1, l2, clip (infinite for none), first, second, eps. scale: or NULL.
    """
    rate *= number[0]
    h.scaled, h.clipped = scale != NULL, number[4] < INFINITY
    h.scale = scale[0] if h.scaled else 1
    h.l1, h.l2, h.clip = <real> number[2], <real> number[3], <real> number[4]
    h.adjusted = h.scaled or h.clipped or h.l1 != 0 or h.l2 != 0
    h.down = <real> (-rate / correction1)
    h.keep = <real> (1.0 - rate * number[1])
    h.first, h.not_first = <real> number[5], <real> (1.0 - number[5])
    h.second, h.not_second = <real> number[6], <real> (1.0 - number[6])
    h.root = <real> (1.0 / sqrt(correction2))
    h.eps = <real> number[7]


cdef inline vf adjust(const Hyper *h, vf g, vf p) noexcept nogil:
    """The gradient as the rule sees it."""
    if h.scaled:
        g = g * vsplat(h.scale)
    if h.clipped:
        g = vmin(vsplat(h.clip), vmax(vsplat(-h.clip), g))
    if h.l2 != 0:
        g = vfma(vsplat(h.l2), p, g)
    if h.l1 != 0:
        g = vfma(vsplat(h.l1), function(F_SIGN, p, p), g)
    return g


cdef inline vf mean_square(const Hyper *h, vf s, vf g) noexcept nogil:
    """The running mean of squares after one more."""
    return vfma(vsplat(h.second), s, vsplat(h.not_second) * g * g)


cdef inline vf descend(int rule, const Hyper *h, vf p, vf *s, vf *t, vf g) noexcept nogil:
    """The parameter after the step; states are changed where they are."""
    cdef vf down = vsplat(h.down), eps = vsplat(h.eps), first = vsplat(h.first)
    if rule == RULE_MOMENTUM or rule == RULE_NESTEROV:
        s[0] = vfma(first, s[0], vsplat(h.not_second) * g)
        return vfma(down, s[0] if rule == RULE_MOMENTUM else vfma(first, s[0], g), p)
    if rule == RULE_RMSPROP:
        s[0] = mean_square(h, s[0], g)
        return vfma(down, g / (vsqrt(s[0]) + eps), p)
    if rule == RULE_HEAVY_RMSPROP:
        s[0] = mean_square(h, s[0], g)
        t[0] = vfma(first, t[0], g / (vsqrt(s[0]) + eps))
        return vfma(down, t[0], p)
    if rule == RULE_ADAGRAD:
        s[0] = vfma(g, g, s[0])
        return vfma(down, g / (vsqrt(s[0]) + eps), p)
    if rule == RULE_ADAM:
        s[0] = vfma(vsplat(h.not_first), g - s[0], s[0])
        t[0] = mean_square(h, t[0], g)
        return vfma(down, s[0] / vfma(vsqrt(t[0]), vsplat(h.root), eps), p * vsplat(h.keep))
    return vfma(down, g, p)


cdef inline void update_loop(int rule, bint adjusted, const Hyper *given, real *p, real *s, real *t, const real *g,
                             int64_t n) noexcept nogil:
    cdef Hyper h = given[0]  # a copy that the stores below cannot change: its members stay in registers
    cdef bint has_s = rule != RULE_SGD, has_t = rule == RULE_ADAM or rule == RULE_HEAVY_RMSPROP
    cdef vf slope, old, state = vsplat(0), other = vsplat(0)
    cdef int64_t i = 0, left
    while i < n:
        left = n - i
        if left >= VL:
            old, slope = vload(p + i), vload(g + i)
            if has_s:
                state = vload(s + i)
            if has_t:
                other = vload(t + i)
        else:
            old, slope = vload_part(p + i, left), vload_part(g + i, left)
            if has_s:
                state = vload_part(s + i, left)
            if has_t:
                other = vload_part(t + i, left)
        if adjusted:
            slope = adjust(&h, slope, old)
        old = descend(rule, &h, old, &state, &other, slope)
        state, other = vnormal(state), vnormal(other)
        if left >= VL:
            vstore(p + i, old)
            if has_s:
                vstore(s + i, state)
            if has_t:
                vstore(t + i, other)
        else:
            vstore_part(p + i, old, left)
            if has_s:
                vstore_part(s + i, state, left)
            if has_t:
                vstore_part(t + i, other, left)
        i += VL


cdef inline void update_with(int rule, const Hyper *h, real *p, real *s, real *t, const real *g,
                             int64_t n) noexcept nogil:
    if h.adjusted:
        update_loop(rule, True, h, p, s, t, g, n)
    else:
        update_loop(rule, False, h, p, s, t, g, n)


cdef void update_run(int rule, const Hyper *h, real *p, real *s, real *t, const real *g, int64_t n) noexcept nogil:
    """One step for n elements that lie together; s and t: NULL where the rule has no such state."""
    if rule == RULE_SGD:
        update_with(RULE_SGD, h, p, s, t, g, n)
    elif rule == RULE_MOMENTUM:
        update_with(RULE_MOMENTUM, h, p, s, t, g, n)
    elif rule == RULE_NESTEROV:
        update_with(RULE_NESTEROV, h, p, s, t, g, n)
    elif rule == RULE_RMSPROP:
        update_with(RULE_RMSPROP, h, p, s, t, g, n)
    elif rule == RULE_HEAVY_RMSPROP:
        update_with(RULE_HEAVY_RMSPROP, h, p, s, t, g, n)
    elif rule == RULE_ADAGRAD:
        update_with(RULE_ADAGRAD, h, p, s, t, g, n)
    else:
        update_with(RULE_ADAM, h, p, s, t, g, n)


cdef inline real *past(real *p, int64_t n) noexcept nogil:
    """The place n elements on, if there is one."""
    return NULL if p == NULL else p + n


cdef int update_share(const Instruction *instruction, int rule, const Hyper *h, int thread,
                      int n_threads) noexcept nogil:
    """A thread's elements of p, s and t (operands 0 to 2) with the gradient (operand 3), strided or not."""
    cdef const Operand *operand = &instruction.operand[0]
    cdef real buffers[4][SPAN]
    cdef real *place[3]
    cdef const real *source
    cdef const real *g
    cdef int64_t first, last, n, head
    cdef int i
    share(count(&operand[0]), 64, thread, n_threads, &first, &last)
    while first < last:
        n = last - first
        for i in range(4):
            n = longest_span(&operand[i], n)
        for i in range(3):
            place[i] = NULL
            if operand[i].data != NULL:
                source = read_span(&operand[i], first, n, buffers[i])
                place[i] = <real *> source
        g = read_span(&operand[3], first, n, buffers[3])
        head = head_of_run(place[0], n)
        update_run(rule, h, place[0], place[1], place[2], g, head)
        update_run(rule, h, place[0] + head, past(place[1], head), past(place[2], head), g + head, n - head)
        for i in range(3):
            if place[i] != NULL:
                write_span(&operand[i], first, n, place[i])
        first += n
    return KERNEL_OK


cdef int update(const Instruction *instruction, int thread, int n_threads) noexcept nogil:
    """All rules but Adam's.

    Operands: parameter, first and second state (or absent), in place; gradient, scale (0-d, or absent), ... (ignored).
    Integers: column of the learning rate, rule. Numbers: see hyper_start.
    """
    cdef Hyper h
    hyper_start(&h, instruction.number, <const real *> instruction.operand[4].data,
                instruction.run[instruction.integer[0]], 1.0, 1.0)
    return update_share(instruction, instruction.integer[1], &h, thread, n_threads)


cdef int update_adam(const Instruction *instruction, int thread, int n_threads) noexcept nogil:
    """The same for Adam, whose integers are the columns of learning rate, 1 - beta1^t and 1 - beta2^t."""
    cdef Hyper h
    hyper_start(&h, instruction.number, <const real *> instruction.operand[4].data,
                instruction.run[instruction.integer[0]], instruction.run[instruction.integer[1]],
                instruction.run[instruction.integer[2]])
    return update_share(instruction, RULE_ADAM, &h, thread, n_threads)


cdef inline void read_sum_update(const Instruction *instruction, Reduction *form) noexcept nogil:
    merge(&form.y, &instruction.operand[0])
    arrange(form, &instruction.operand[1], instruction.integer[1], SUM)


cdef int run_sum_update(const Instruction *instruction, const Reduction *form, int thread,
                        int n_threads) noexcept nogil:
    cdef real old[SPAN]
    cdef real sums[STRIP_VECTORS * VL]
    cdef real *place
    cdef int64_t first, last, width, block = column_block(form, n_threads)
    cdef Hyper h
    hyper_start(&h, instruction.number, NULL, instruction.run[instruction.integer[0]], 1.0, 1.0)
    share(form.columns, block, thread, n_threads, &first, &last)
    while first < last:
        width = min(last - first, block)
        reduce_block(SUM, form, first, width, sums)
        place = <real *> read_span(&form.y, first, width, old)
        update_loop(RULE_SGD, False, &h, place, NULL, NULL, sums, width)
        write_span(&form.y, first, width, old)
        first += width
    return KERNEL_OK


cdef int sum_update(const Instruction *instruction, int thread, int n_threads) noexcept nogil:
    """p = fma(-rate, sums of the columns of x, p): the update of a bias by its gradient, which is never stored.

    Operands p, x, ... (ignored); integers column of the learning rate, mask of the axes that are summed, all but the
    last; numbers as for `update`.
    """
    cdef Reduction form
    read_sum_update(instruction, &form)
    return run_sum_update(instruction, &form, thread, n_threads)


cdef extern from *:
    """
    static const real ONE = 1;
    """
    const real ONE


cdef inline bint read_ones_update(const Instruction *instruction, Product *p) noexcept nogil:
    """p[1, n] += factor * (1[1, rows] x[rows, n]), if that is the same: where the sum has one chunk and lies in one
    piece."""
    cdef Reduction form
    read_sum_update(instruction, &form)
    start_plain(p)
    p.m, p.n, p.k = 1, form.columns, form.rows
    p.a.data, p.a.row, p.a.column = <real *> &ONE, 0, 0
    p.b.data, p.b.row, p.b.column = <real *> form.x.data, form.columns, 1
    p.c.data, p.c.row, p.c.column = <real *> form.y.data, form.columns, 1
    p.sum = p.c
    p.add = True
    return form.rows <= min(ROW_CHUNK, KCHAIN) and is_contiguous(&form.x) and is_contiguous(&form.y)


cdef int prepared_sum_update(const Instruction *instruction, int thread, int n_threads) noexcept nogil:
    return run_sum_update(instruction, <const Reduction *> instruction.form, thread, n_threads)


cdef Kernel prepare_sum_update(Instruction *instruction, int n_threads) noexcept nogil:
    """A sum of one chunk is the product with a row of ones, which `small_update` may know how to compute."""
    cdef SmallProduct *small = <SmallProduct *> instruction.form
    if n_threads == 1 and read_ones_update(instruction, &small.p) and make_small(small):
        return way_to_update(small)
    read_sum_update(instruction, <Reduction *> instruction.form)
    return <Kernel> prepared_sum_update


cdef inline double square_sum(const real *x, int64_t n) noexcept nogil:
    """Sum of squares in double: element i in lane i % LANES, the lanes folded 8-4-2-1."""
    cdef double lane[LANES]
    cdef double value
    cdef int64_t i = 0, j, half = LANES // 2
    for j in range(LANES):
        lane[j] = 0
    while i + LANES <= n:
        for j in range(LANES):
            value = <double> x[i + j]
            lane[j] += value * value
        i += LANES
    for j in range(n - i):
        value = <double> x[i + j]
        lane[j] += value * value
    while half > 0:
        for j in range(half):
            lane[j] += lane[j + half]
        half //= 2
    return lane[0]


cdef int squares(const Instruction *instruction, int thread, int n_threads) noexcept nogil:
    """Sums of squares of NORM_CHUNK elements each. Operands: sums[chunks], float64; x."""
    cdef const Operand *x = &instruction.operand[1]
    cdef double *sums = <double *> instruction.operand[0].data
    cdef int64_t stride = instruction.operand[0].stride[0], total = count(x), first, last, n
    cdef real buffer[NORM_CHUNK]
    share(total, NORM_CHUNK, thread, n_threads, &first, &last)
    while first < last:
        n = min(NORM_CHUNK, last - first)
        sums[first // NORM_CHUNK * stride] = square_sum(read_span(x, first, n, buffer), n)
        first += n
    return KERNEL_OK


cdef int clip_scale(const Instruction *instruction, int thread, int n_threads) noexcept nogil:
    """All inputs (float64) added in order; then, if integer 0 is 1, what brings a gradient of this squared norm down.

    Operands: the sum (float64, 0-d) or the scale min(1, max_norm / (norm + 1e-6)) (0-d); up to 11 arrays of one axis or
    none. Number 0: max_norm.
    """
    cdef const Operand *sums
    cdef double total = 0.0, scale
    cdef int64_t i
    cdef int each
    if thread > 0:
        return KERNEL_OK
    for each in range(1, instruction.n_operands):
        sums = &instruction.operand[each]
        for i in range(count(sums)):
            total += (<const double *> sums.data)[i * sums.stride[0] if sums.ndim else 0]
    if instruction.integer[0] == 0:
        (<double *> instruction.operand[0].data)[0] = total
        return KERNEL_OK
    scale = instruction.number[0] / (sqrt(total) + 1e-6)
    (<real *> instruction.operand[0].data)[0] = 1 if scale > 1.0 else <real> scale
    return KERNEL_OK


cdef int fill(const Instruction *instruction, int thread, int n_threads) noexcept nogil:
    """y = number 0 everywhere. Operands: y; ... (ignored)."""
    cdef const Operand *y = &instruction.operand[0]
    cdef real buffer[SPAN]
    cdef real *target
    cdef real value = <real> instruction.number[0]
    cdef int64_t first, last, n, i
    share(count(y), 64, thread, n_threads, &first, &last)
    while first < last:
        n = longest_span(y, last - first)
        target = span_target(y, first, buffer)
        for i in range(n):
            target[i] = value
        write_span(y, first, n, target)
        first += n
    return KERNEL_OK

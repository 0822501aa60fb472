# Softmax and its logarithm over the last axis, and their gradients. Sums are row sums (see reduce.pxi).

cdef enum:  # kinds, as in ops/softmax.py
    SOFTMAX = 0
    LOG_SOFTMAX = 1


cdef void exp_run(real *e, const real *x, int64_t n, vf shift) noexcept nogil:
    """e = exp(x - shift)."""
    cdef int64_t i = 0
    while i < n:
        store_up_to(e + i, vexp_negative(load_up_to(x + i, n - i, shift) - shift), n - i)
        i += VL


cdef inline void exp_lanes(bint kept, real *e, const real *x, int64_t n, vf shift, vf *result) noexcept nogil:
    """The lanes of the sum of exp(x - shift) of a row that lies in one piece and makes one chunk; `kept`, a literal:
    whether e takes the terms."""
    cdef vf lanes[LANE_VECTORS]
    cdef vf term
    cdef int64_t i = 0
    cdef int v
    for v in range(LANE_VECTORS):
        lanes[v] = vsplat(0)
    while i + LANES <= n:
        for v in range(LANE_VECTORS):
            term = vexp_negative(vload(x + i + v * VL) - shift)
            lanes[v] = lanes[v] + term
            if kept:
                vstore(e + i + v * VL, term)
        i += LANES
    for v in range(LANE_VECTORS):
        if i < n:
            term = vexp_negative(load_up_to(x + i, n - i, vsplat(-INFINITE)) - shift)
            lanes[v] = lanes[v] + term
            if kept:
                store_up_to(e + i, term, n - i)
        i += VL
    for v in range(LANE_VECTORS):
        result[v] = lanes[v]


cdef real exp_sum(const Operand *e, const Operand *x, int64_t first, int64_t n, vf shift) noexcept nogil:
    """The sum of exp(x - shift) over a row; the terms go to e unless that is NULL."""
    cdef real from_x[SPAN]
    cdef real to_e[SPAN]
    cdef real *terms = to_e
    cdef RowSum row
    cdef int64_t i = 0, run
    cdef int64_t longest = SPAN if e == NULL else min(longest_span(x, SUM_CHUNK), longest_span(e, SUM_CHUNK))
    start_row(SUM, &row)
    while i < n:
        run = min(n - i, longest)
        if e != NULL:
            terms = span_target(e, first + i, to_e)
        exp_run(terms, read_span(x, first + i, run, from_x), run, shift)
        add_to_sum(&row, terms, run)
        if e != NULL:
            write_span(e, first + i, run, to_e)
        i += run
    return finish_row(SUM, &row)


cdef void exp_sums(const Operand *e, const Operand *x, int64_t first, int64_t rows, int64_t n, vf *shift,
                   vf *total) noexcept nogil:
    """Of up to VL rows, a lane each: what a row is shifted by, and its sum of exp(x - shift). The terms go to e unless
    that is NULL.

    Rows that lie in one piece leave their sums' lanes in memory, and all of them are folded together.
    """
    cdef real shifts[VL]
    cdef real totals[VL]
    cdef vf lanes[VL * LANE_VECTORS]
    cdef const real *p
    cdef int64_t r
    cdef bint pieces = n <= SUM_CHUNK and is_contiguous(x) and (e == NULL or is_contiguous(e))
    if pieces:
        for r in range(rows):
            top_lanes(<const real *> x.data + (first + r) * n, n, lanes + r * LANE_VECTORS)
        shift[0] = fold_rows(MAXIMUM, lanes, rows)
        vstore(shifts, shift[0])
        for r in range(rows):
            p = <const real *> x.data + (first + r) * n
            if e == NULL:
                exp_lanes(False, NULL, p, n, vsplat(shifts[r]), lanes + r * LANE_VECTORS)
            else:
                exp_lanes(True, <real *> e.data + (first + r) * n, p, n, vsplat(shifts[r]), lanes + r * LANE_VECTORS)
        total[0] = fold_rows(SUM, lanes, rows)
        return
    memset(shifts, 0, sizeof(shifts))
    memset(totals, 0, sizeof(totals))
    for r in range(rows):
        shifts[r] = row_maximum(x, (first + r) * n, n)
        totals[r] = exp_sum(e, x, (first + r) * n, n, vsplat(shifts[r]))
    shift[0], total[0] = vload(shifts), vload(totals)


cdef void exp_block(real *e, real *z, int64_t n, vf shift) noexcept nogil:
    """z = z - shift and e = exp(z) for a block of rows."""
    cdef int64_t c
    cdef vf shifted
    for c in range(n):
        shifted = vload(z + c * VL) - shift
        vstore(z + c * VL, shifted)
        vstore(e + c * VL, vexp_negative(shifted))


cdef void softmax_row(int kind, const Operand *y, const Operand *source, int64_t first, int64_t n, vf shift,
                      vf total) noexcept nogil:
    """A row from the exponentials and 1 / their sum, or from x and the logarithm of that sum."""
    cdef real from_source[SPAN]
    cdef real to_y[SPAN]
    cdef const real *p
    cdef real *target
    cdef vf value
    cdef int64_t i = 0, j, run, longest = min(longest_span(source, n), longest_span(y, n))
    while i < n:
        run = min(n - i, longest)
        p = read_span(source, first + i, run, from_source)
        target = span_target(y, first + i, to_y)
        j = 0
        while j < run:
            value = load_up_to(p + j, run - j, shift)
            store_up_to(target + j, value * total if kind == SOFTMAX else value - shift - total, run - j)
            j += VL
        write_span(y, first + i, run, to_y)
        i += run


cdef void softmax_rows(int kind, const Operand *y, const Operand *x, int64_t first, int64_t rows,
                       int64_t n) noexcept nogil:
    """Up to VL rows; for softmax y holds the exponentials in between."""
    cdef real shifts[VL]
    cdef real totals[VL]
    cdef vf shift, total
    cdef int64_t r
    exp_sums(y if kind == SOFTMAX else NULL, x, first, rows, n, &shift, &total)
    vstore(shifts, shift)
    vstore(totals, vsplat(1) / total if kind == SOFTMAX else vlog(total))
    for r in range(rows):
        softmax_row(kind, y, y if kind == SOFTMAX else x, (first + r) * n, n, vsplat(shifts[r]), vsplat(totals[r]))


cdef void softmax_block(int kind, const Operand *y, const Operand *x, int64_t first, int64_t rows,
                        int64_t n) noexcept nogil:
    """The same for short rows."""
    cdef real e[LANES * VL]
    cdef real z[LANES * VL]
    cdef vf shift, total
    cdef int64_t c
    load_block(z, x, first, rows, n)
    shift = block_maximum(z, n)
    exp_block(e, z, n, shift)
    total = block_sum(e, n)
    total = vsplat(1) / total if kind == SOFTMAX else vlog(total)
    for c in range(n):
        vstore(z + c * VL, vload(e + c * VL) * total if kind == SOFTMAX else vload(z + c * VL) - total)
    store_block(z, y, first, rows, n)


cdef int softmax(const Instruction *instruction, int thread, int n_threads) noexcept nogil:
    """y = softmax(x) or log softmax(x) of each row. Operands: y, x. Integers: kind."""
    cdef int kind = <int> instruction.integer[0]
    cdef int64_t n = instruction.operand[1].shape[instruction.operand[1].ndim - 1], first, last, rows
    cdef Operand y, x
    merge(&y, &instruction.operand[0])
    merge(&x, &instruction.operand[1])
    share(count(&x) // max(n, 1), 1, thread, n_threads, &first, &last)
    while first < last:
        rows = min(last - first, rows_together(n))
        if n <= LANES:
            softmax_block(kind, &y, &x, first, rows, n)
        else:
            softmax_rows(kind, &y, &x, first, rows, n)
        first += rows
    return KERNEL_OK


cdef inline void gradient_run(int kind, real *dx, const real *dy, const real *y, int64_t n, vf total) noexcept nogil:
    """dx = y (dy - total), or dy - exp(y) total."""
    cdef int64_t i = 0
    cdef vf a, b
    while i < n:
        a = load_up_to(dy + i, n - i, total)
        b = load_up_to(y + i, n - i, total)
        store_up_to(dx + i, b * (a - total) if kind == SOFTMAX else vfma(-vexp(b), total, a), n - i)
        i += VL


cdef void multiply_run(real *z, const real *x, const real *y, int64_t n) noexcept nogil:
    """z = x y."""
    cdef int64_t i = 0
    while i < n:
        store_up_to(z + i, load_up_to(x + i, n - i, vsplat(0)) * load_up_to(y + i, n - i, vsplat(0)), n - i)
        i += VL


cdef inline void gradient_piece(int kind, real *dx, const real *dy, const real *y, int64_t n) noexcept nogil:
    """`gradient_row` of a row that lies in one piece and makes one chunk."""
    cdef vf lanes[LANE_VECTORS]
    cdef vf term
    cdef int64_t i = 0
    cdef int v
    for v in range(LANE_VECTORS):
        lanes[v] = vsplat(0)
    while i < n:
        for v in range(LANE_VECTORS):
            if i + v * VL < n:
                term = load_up_to(dy + i + v * VL, n - i - v * VL, vsplat(0))
                if kind == SOFTMAX:
                    term = term * load_up_to(y + i + v * VL, n - i - v * VL, vsplat(0))
                lanes[v] = lanes[v] + term
        i += LANES
    gradient_run(kind, dx, dy, y, n, vsplat(vlane0(fold_lanes(SUM, lanes))))


cdef void gradient_row(int kind, const Operand *dx, const Operand *dy, const Operand *y, int64_t first,
                       int64_t n) noexcept nogil:
    """One row of the gradient; its first pass sums dy y (softmax) or dy (the logarithm)."""
    cdef real from_dy[SPAN]
    cdef real from_y[SPAN]
    cdef real to_dx[SPAN]
    cdef const real *terms
    cdef const real *p
    cdef RowSum row
    cdef vf total
    cdef int64_t i = 0, run
    start_row(SUM, &row)
    while i < n:
        run = min(n - i, SPAN)
        terms = read_span(dy, first + i, run, from_dy)
        if kind == SOFTMAX:
            multiply_run(to_dx, terms, read_span(y, first + i, run, from_y), run)
            terms = to_dx
        add_to_sum(&row, terms, run)
        i += run
    total = vsplat(finish_row(SUM, &row))
    i = 0
    while i < n:
        run = min(n - i, SPAN)
        p = read_span(dy, first + i, run, from_dy)
        gradient_run(kind, span_target(dx, first + i, to_dx), p, read_span(y, first + i, run, from_y), run, total)
        write_span(dx, first + i, run, to_dx)
        i += run


cdef int softmax_gradient(const Instruction *instruction, int thread, int n_threads) noexcept nogil:
    """dx for y = softmax(x) or log softmax(x). Operands: dx, dy, y. Integers: kind."""
    cdef int kind = <int> instruction.integer[0]
    cdef int64_t n = instruction.operand[1].shape[instruction.operand[1].ndim - 1], first, last, row
    cdef bint direct
    cdef Operand dx, dy, y
    merge(&dx, &instruction.operand[0])
    merge(&dy, &instruction.operand[1])
    merge(&y, &instruction.operand[2])
    share(count(&y) // max(n, 1), 1, thread, n_threads, &first, &last)
    direct = n <= SUM_CHUNK and is_contiguous(&dx) and is_contiguous(&dy) and is_contiguous(&y)
    for row in range(first, last):
        if not direct:
            gradient_row(kind, &dx, &dy, &y, row * n, n)
        elif kind == SOFTMAX:
            gradient_piece(SOFTMAX, <real *> dx.data + row * n, <real *> dy.data + row * n,
                           <real *> y.data + row * n, n)
        else:
            gradient_piece(LOG_SOFTMAX, <real *> dx.data + row * n, <real *> dy.data + row * n,
                           <real *> y.data + row * n, n)
    return KERNEL_OK

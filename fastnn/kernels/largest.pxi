# The largest number of a row, and where it stands first.

cdef enum:
    SHORT_ROW = 16       # elements; the first largest of so few is sooner found one after the other
    SEARCHED_RUN = 256   # elements that are searched once it is known that the largest is among them


cdef inline real largest_of(const real *p, int64_t n, bint *known) noexcept nogil:
    """The largest of n >= 1 contiguous elements; known unless there is NaN."""
    cdef vf top = vsplat(-INFINITE), other = vsplat(-INFINITE), x, y
    cdef vi unordered = vless(top, top)
    cdef int64_t i = 0
    cdef int half = VL // 2
    while i + 2 * VL <= n:
        x, y = vload(p + i), vload(p + i + VL)
        top, other = vmax(x, top), vmax(y, other)
        unordered = unordered | ~vequal(x, x) | ~vequal(y, y)
        i += 2 * VL
    while i < n:
        x = load_up_to(p + i, n - i, vsplat(p[0]))
        top = vmax(x, top)
        unordered = unordered | ~vequal(x, x)
        i += VL
    top = vmax(other, top)
    while half >= 1:
        top = vmax(vdown(top, half), top)
        half //= 2
    known[0] = not vany(unordered)
    return vlane0(top)


cdef inline real largest_of_few(const real *p, int64_t n, bint *known) noexcept nogil:
    """The same of a short row's elements, one after the other."""
    cdef real top = p[0]
    cdef int64_t i
    known[0] = p[0] == p[0]
    for i in range(1, n):
        known[0] &= p[i] == p[i]
        top = p[i] if p[i] > top else top
    return top


cdef real row_maximum(const Operand *x, int64_t first, int64_t n) noexcept nogil:
    """The largest of n elements; NaN if there is one."""
    return reduce_row(MAXIMUM, x, first, n)


cdef inline void top_lanes(const real *p, int64_t n, vf *result) noexcept nogil:
    """The lanes of what a softmax's row, n contiguous elements, is shifted by: the largest. NaN need not come through:
    its exponential is NaN as well."""
    cdef vf lanes[LANE_VECTORS]
    cdef int64_t i = 0
    cdef int v
    for v in range(LANE_VECTORS):
        lanes[v] = vsplat(-INFINITE)
    while i + LANES <= n:
        for v in range(LANE_VECTORS):
            lanes[v] = vmax(vload(p + i + v * VL), lanes[v])
        i += LANES
    for v in range(LANE_VECTORS):
        if i < n:
            lanes[v] = vmax(load_up_to(p + i, n - i, vsplat(-INFINITE)), lanes[v])
        i += VL
        result[v] = lanes[v]


cdef inline void arrange_rows(Operand *view, const Operand *x, int64_t mask, int64_t *rows,
                              int64_t *n) noexcept nogil:
    """An operand with the axes in `mask` moved behind the others: `rows` rows of n elements."""
    rearrange(view, x)
    rows[0] = add_axes(view, x, ~mask, x.ndim)
    n[0] = add_axes(view, x, mask, x.ndim)


cdef inline int64_t first_of_few(const real *p, int64_t n) noexcept nogil:
    """`first_maximum` of a short row's n >= 1 contiguous elements, one after the other.

    Its place is found by arithmetic: no processor could predict the branches.
    """
    cdef bint known
    cdef real largest = largest_of_few(p, n, &known)
    cdef int64_t i, place = 0
    for i in range(n - 1, -1, -1):
        place += (i - place) * ((known & (p[i] == largest)) | (p[i] != p[i]))
    return place


cdef inline bint first_in_piece(const real *p, int64_t n, int64_t *place) noexcept nogil:
    """`first_maximum` of contiguous elements; false if there is NaN."""
    cdef int64_t start = 0, run, found = 0
    cdef real top, largest = 0
    cdef bint known
    while start < n:
        run = min(n - start, <int64_t> SEARCHED_RUN)
        top = largest_of(p + start, run, &known)
        if not known:
            return False
        if start == 0 or top > largest:
            largest, found = top, start
        start += run
    while not vany(vequal(load_up_to(p + found, n - found, vsplat(NOT_A_NUMBER)), vsplat(largest))):
        found += VL
    while p[found] != largest:
        found += 1
    place[0] = found
    return True


cdef int64_t first_maximum(const Operand *x, int64_t first, int64_t n) noexcept nogil:
    """Where in a row of n >= 1 elements the largest stands first, or the first NaN."""
    cdef real buffer[SPAN]
    cdef real largest
    cdef int64_t start = 0, place = 0, i, run, longest = longest_span(x, n)
    cdef const real *p
    if is_contiguous(x) and first_in_piece(<const real *> x.data + first, n, &place):
        return place
    largest = row_maximum(x, first, n)
    while start < n:
        run = min(n - start, longest)
        p = read_span(x, first + start, run, buffer)
        for i in range(run):
            if p[i] == largest or p[i] != p[i]:
                return start + i
        start += run
    return 0


cdef int argmax(const Instruction *instruction, int thread, int n_threads) noexcept nogil:
    """y = index of the first largest element along an axis. Operands: y (int64), x. Integers: mask of the axis."""
    cdef const Operand *y = &instruction.operand[0]
    cdef int64_t *target = <int64_t *> y.data
    cdef int64_t rows, n, first, last, row
    cdef Walk place
    cdef Operand x
    arrange_rows(&x, &instruction.operand[1], instruction.integer[0], &rows, &n)
    share(rows, 1, thread, n_threads, &first, &last)
    if n <= SHORT_ROW and is_contiguous(&x) and is_contiguous(y):
        for row in range(first, last):
            target[row] = first_of_few(<const real *> x.data + row * n, n)
        return KERNEL_OK
    for row in range(first, last):
        walk_to(&place, y, 0, row)
        target[place.offset] = first_maximum(&x, row * n, n)
    return KERNEL_OK


cdef void clear_run(const Operand *y, int64_t first, int64_t n) noexcept nogil:
    """Zeros into elements first ... first + n - 1."""
    cdef real buffer[SPAN]
    cdef real *target
    cdef int64_t start = 0, run, longest = longest_span(y, n)
    while start < n:
        run = min(n - start, longest)
        target = span_target(y, first + start, buffer)
        memset(target, 0, run * sizeof(real))
        write_span(y, first + start, run, buffer)
        start += run


cdef int max_gradient(const Instruction *instruction, int thread, int n_threads) noexcept nogil:
    """dx = dy where x has its first maximum, zero elsewhere. Operands: dx, dy, x, y. Integers: mask of the axes."""
    cdef int64_t mask = instruction.integer[0], rows, n, first, last, row
    cdef Operand dx, x
    arrange_rows(&dx, &instruction.operand[0], mask, &rows, &n)
    arrange_rows(&x, &instruction.operand[2], mask, &rows, &n)
    share(rows, 1, thread, n_threads, &first, &last)
    for row in range(first, last):
        clear_run(&dx, row * n, n)
        set_element(&dx, row * n + first_maximum(&x, row * n, n), element(&instruction.operand[1], row))
    return KERNEL_OK

# One row times a large b, which is read along its rows, some side by side, as memory likes it. There is nothing to do
# but load b: the sums lie in the first-level cache meanwhile, and no tile is called for each piece of a row. And many
# rows of one number times a row, where there is nothing to do but store c. Neither asks for rows of the next batch:
# what it does is to wait for memory itself.


cdef inline void add_steps(int steps, int vectors, bint masked, const vf *x, const real *b, int64_t b_row,
                           const real *start, real *c, int64_t lanes) noexcept nogil:
    """c = start + x b, or x b if start is NULL: some steps of a chain, some vectors of c, of which the only one has
    `lanes` columns if `masked`. `steps`, `vectors` and `masked` are literals, as in `tile`."""
    cdef vf acc[ROW_VECTORS]
    cdef int s, v
    for v in range(vectors):
        acc[v] = vsplat(0)
        if start != NULL:
            acc[v] = vload_part(start, lanes) if masked else vload(start + v * VL)
    for s in range(steps):
        for v in range(vectors):
            acc[v] = vfma(x[s], vload_part(b, lanes) if masked else vload(b + v * VL), acc[v])
        b += b_row
        forget_origin(b)
    for v in range(vectors):
        if masked:
            vstore_part(c, acc[v], lanes)
        else:
            vstore(c + v * VL, acc[v])


cdef inline void add_to_row(int steps, const Product *p, int64_t step, int64_t head) noexcept nogil:
    """Some steps of a chain of all columns, the first `head` of them on their own."""
    cdef vf x[STREAMED_STEPS]
    cdef const real *b = p.b.data + step * p.b.row
    cdef const real *start = p.start.data
    cdef real *c = p.sum.data
    cdef int64_t done = 0, columns
    cdef int s
    for s in range(steps):
        x[s] = vsplat(p.a.data[(step + s) * p.a.column])
    while done < p.n:
        columns = head if done < head else min(p.n - done, <int64_t> (ROW_VECTORS * VL))
        if columns == ROW_VECTORS * VL:
            add_steps(steps, ROW_VECTORS, False, x, b, p.b.row, start, c, VL)
        elif columns >= VL:
            columns = VL
            add_steps(steps, 1, False, x, b, p.b.row, start, c, VL)
        else:
            add_steps(steps, 1, True, x, b, p.b.row, start, c, columns)
        done += columns
        b += columns
        c += columns
        if start != NULL:
            start += columns


cdef inline void continue_row(Product *p, int64_t step, int64_t steps, int64_t head) noexcept nogil:
    """The same for any number of steps; p.start then says where to go on."""
    cdef int64_t end = step + steps
    while step < end:
        if end - step >= STREAMED_STEPS:
            add_to_row(STREAMED_STEPS, p, step, head)
            step += STREAMED_STEPS
        elif end - step >= FEWER_STEPS:
            add_to_row(FEWER_STEPS, p, step, head)
            step += FEWER_STEPS
        else:
            add_to_row(1, p, step, head)
            step += 1
        p.start = p.sum


cdef void store_rows(const Product *p) noexcept nogil:
    """A product of one step, one row of c after the other: long runs of stores are faster than tiles."""
    cdef Product q = p[0]
    cdef int64_t row, head = columns_before_line(p) % VL
    for row in range(p.m):
        q.a, q.sum, q.start = from_element(p.a, row, 0), from_element(p.sum, row, 0), from_element(p.start, row, 0)
        add_to_row(1, &q, 0, head)
        if p.epilogue != NO_EPILOGUE:
            finish(p, row, 1)

# What follows a product's sums while they are in a near cache: an activation, or the multiplication by a slope.


cdef inline void apply_run(const Product *p, real *c, const real *sum, const real *aux, int64_t n) noexcept nogil:
    """The epilogue on n contiguous numbers."""
    if p.epilogue == FORWARD:
        unary_run(p.code, p.numbers, c, sum, n)
    else:
        slope_run(p.code, p.numbers, c, sum, aux, n)


cdef void apply_strided(const Product *p, real *c, const real *sum, const real *aux) noexcept nogil:
    """The epilogue on one strided row."""
    cdef real sums[CHUNK]
    cdef real others[CHUNK]
    cdef int64_t j = 0, n
    while j < p.n:
        n = min(<int64_t> CHUNK, p.n - j)
        read_block(sums, 0, sum + j * p.sum.column, 0, p.sum.column, 1, n)
        if aux != NULL:
            read_block(others, 0, aux + j * p.aux.column, 0, p.aux.column, 1, n)
        apply_run(p, sums, sums, others, n)
        write_block(c + j * p.c.column, 0, p.c.column, sums, 0, 1, n)
        j += n


cdef inline void finish_rows(const Product *p, int64_t i, int64_t rows) noexcept nogil:
    """The epilogue on some rows, each contiguous or not."""
    cdef real *c = p.c.data + i * p.c.row
    cdef const real *sum = p.sum.data + i * p.sum.row
    cdef const real *aux = NULL
    cdef bint contiguous = p.c.column == 1 and p.sum.column == 1 and (p.aux.data == NULL or p.aux.column == 1)
    cdef int64_t row
    if p.aux.data != NULL:
        aux = p.aux.data + i * p.aux.row
    if contiguous and p.c.row == p.n and p.sum.row == p.n and (aux == NULL or p.aux.row == p.n):
        apply_run(p, c, sum, aux, rows * p.n)
        return
    for row in range(rows):
        if contiguous:
            apply_run(p, c, sum, aux, p.n)
        else:
            apply_strided(p, c, sum, aux)
        c += p.c.row
        sum += p.sum.row
        if aux != NULL:
            aux += p.aux.row


cdef void finish(const Product *p, int64_t i, int64_t rows) noexcept nogil:
    """The epilogue on some finished rows, while they are in a near cache; on their columns, if these are
    contiguous, as they are once the sides have been exchanged."""
    cdef Product part
    if p.c.column != 1 and p.c.row == 1 and p.sum.row == 1 and (p.aux.data == NULL or p.aux.row == 1):
        part = p[0]
        narrow(&part, i, rows, 0, p.n)
        exchange_sides(&part)
        finish_rows(&part, 0, part.m)
    else:
        finish_rows(p, i, rows)

# Column sums: reductions that keep the last axis. The order of arithmetic stands in reduce.pxi.

cdef enum:
    COLUMN_VECTORS = 8  # vectors of columns that are reduced side by side
    STRIP_ROWS = 8      # rows that are read side by side where x comes from afar, ...
    FEWER_ROWS = 4      # ... or, where those have no more than 512 bytes, so many


cdef inline void add_rows(int kind, int vectors, vf *part, const real *p, int64_t rows, int64_t n) noexcept nogil:
    """Adds that many vectors of each row; rows begin n elements apart."""
    cdef int64_t row
    cdef int v
    for row in range(rows):
        for v in range(vectors):
            part[v] = combine(kind, part[v], vload(p + v * VL))
        p += n


cdef inline void add_strip(int kind, int rows, int vectors, vf *part, const real *p, int64_t n) noexcept nogil:
    """The same for `rows`, a literal, and with parts that lie in memory."""
    cdef vf sum[ROW_VECTORS]
    cdef int v
    for v in range(vectors):
        sum[v] = part[v]
    add_rows(kind, vectors, sum, p, rows, n)
    for v in range(vectors):
        part[v] = sum[v]


cdef inline void add_wide(int kind, int rows, vf *part, const real *p, int64_t width, int64_t n) noexcept nogil:
    """`rows`, a literal, more rows, `width` columns of each."""
    cdef int64_t j = 0
    cdef int r
    while j + ROW_VECTORS * VL <= width:
        add_strip(kind, rows, ROW_VECTORS, part + j // VL, p + j, n)
        j += ROW_VECTORS * VL
    while j + VL <= width:
        add_strip(kind, rows, 1, part + j // VL, p + j, n)
        j += VL
    if j < width:
        for r in range(rows):
            part[j // VL] = combine(kind, part[j // VL], load_up_to(p + r * n + j, width - j, nothing(kind)))


cdef inline void add_chunk_of_rows(int kind, const Reduction *form, int64_t row, int64_t first, int64_t width,
                                   vf *part) noexcept nogil:
    """The chunk that begins at a row, of columns first ... first + width - 1, STRIP_VECTORS at most. Its rows, which
    come from afar, are read along, some side by side; the sums lie in the first-level cache meanwhile."""
    cdef int64_t end = min(form.rows, row + ROW_CHUNK), n = form.columns, v
    cdef int64_t strip = STRIP_ROWS if n * <int64_t> sizeof(real) > 512 else FEWER_ROWS
    cdef const real *p = <const real *> form.x.data + first
    for v in range((width + VL - 1) // VL):
        part[v] = nothing(kind)
    while row + strip <= end:
        if strip == STRIP_ROWS:
            add_wide(kind, STRIP_ROWS, part, p + row * n, width, n)
        else:
            add_wide(kind, FEWER_ROWS, part, p + row * n, width, n)
        row += strip
    while row < end:
        add_wide(kind, 1, part, p + row * n, width, n)
        row += 1


cdef inline void reduce_wide(int kind, const Reduction *form, int64_t first, int64_t width,
                             real *result) noexcept nogil:
    """Those columns of all rows."""
    cdef vf part[STRIP_VECTORS]
    cdef vf total[STRIP_VECTORS]
    cdef vf lost[STRIP_VECTORS]
    cdef int64_t row = 0, vectors = (width + VL - 1) // VL, v
    for v in range(vectors):
        total[v], lost[v] = nothing(kind), vsplat(0)
    while row < form.rows:
        add_chunk_of_rows(kind, form, row, first, width, part)
        for v in range(vectors):
            add_chunk(outer_kind(kind), &total[v], &lost[v], part[v])
        row += ROW_CHUNK
    for v in range(vectors):
        store_up_to(result + v * VL, whole(kind, total[v], lost[v]) / vsplat(form.divisor), width - v * VL)


cdef inline bint is_shared_by_rows(const Reduction *form, const real *parts, int n_threads) noexcept nogil:
    """Whether each thread takes chunks of rows, and not columns, of which each would have too few to read along."""
    return (n_threads > 1 and parts != NULL and not form.columns_are_reduced and form.kept == 1 and is_from_afar(form)
            and 2 * n_threads * ROW_CHUNK <= form.rows and form.columns < n_threads * STRIP_VECTORS * VL)


cdef inline void reduce_chunks_of_rows(int kind, const Reduction *form, real *parts, int thread,
                                       int n_threads) noexcept nogil:
    cdef vf part[STRIP_VECTORS]
    cdef int64_t first, last, chunk, column, width, v
    share((form.rows + ROW_CHUNK - 1) // ROW_CHUNK, 1, thread, n_threads, &first, &last)
    for chunk in range(first, last):
        column = 0
        while column < form.columns:
            width = min(form.columns - column, <int64_t> (STRIP_VECTORS * VL))
            add_chunk_of_rows(kind, form, chunk * ROW_CHUNK, column, width, part)
            for v in range((width + VL - 1) // VL):
                store_up_to(parts + chunk * form.columns + column + v * VL, part[v], width - v * VL)
            column += width


cdef inline void close_chunks_of_rows(int kind, const Reduction *form, const real *parts) noexcept nogil:
    """All results, from those of the chunks."""
    cdef vf total, lost
    cdef int64_t column = 0, chunk, left
    while column < form.columns:
        left = form.columns - column
        total, lost = nothing(kind), vsplat(0)
        for chunk in range((form.rows + ROW_CHUNK - 1) // ROW_CHUNK):
            add_chunk(outer_kind(kind), &total, &lost,
                      load_up_to(parts + chunk * form.columns + column, left, nothing(kind)))
        store_up_to(<real *> form.y.data + column, whole(kind, total, lost) / vsplat(form.divisor), left)
        column += VL


cdef inline void reduce_columns(int kind, int vectors, const Operand *x, int64_t first, int64_t rows, int64_t n,
                                int64_t width, real divisor, real *result) noexcept nogil:
    """Columns first ... first + width - 1 of `rows` rows of n elements; `vectors`, a literal, are enough for them."""
    cdef real buffer[SPAN]
    cdef vf part[COLUMN_VECTORS]
    cdef vf total[COLUMN_VECTORS]
    cdef vf lost[COLUMN_VECTORS]
    cdef const real *p
    cdef int64_t row = 0, end
    cdef bint plain = width == vectors * VL and is_contiguous(x)  # then no vector has to be asked whether it is whole
    cdef int v
    for v in range(vectors):
        total[v], lost[v] = nothing(kind), vsplat(0)
    while row < rows:
        end = min(rows, row + ROW_CHUNK)
        for v in range(vectors):
            part[v] = nothing(kind)
        if plain:
            add_rows(kind, vectors, part, <const real *> x.data + first + row * n, end - row, n)
        else:
            for row in range(row, end):
                p = read_span(x, first + row * n, width, buffer)
                for v in range(vectors):
                    if v * VL < width:
                        part[v] = combine(kind, part[v], load_up_to(p + v * VL, width - v * VL, nothing(kind)))
        row = end
        for v in range(vectors):
            add_chunk(outer_kind(kind), &total[v], &lost[v], part[v])
    for v in range(vectors):
        if v * VL < width:
            store_up_to(result + v * VL, whole(kind, total[v], lost[v]) / vsplat(divisor), width - v * VL)


cdef inline void reduce_block(int kind, const Reduction *form, int64_t first, int64_t width,
                              real *result) noexcept nogil:
    """Some columns, of which `first` is the first element: no more than `column_block` says."""
    if is_wide(form):
        reduce_wide(kind, form, first, width, result)
    elif width <= VL:
        reduce_columns(kind, 1, &form.x, first, form.rows, form.columns, width, form.divisor, result)
    elif width <= 2 * VL:
        reduce_columns(kind, 2, &form.x, first, form.rows, form.columns, width, form.divisor, result)
    elif width <= 4 * VL:
        reduce_columns(kind, 4, &form.x, first, form.rows, form.columns, width, form.divisor, result)
    else:
        reduce_columns(kind, COLUMN_VECTORS, &form.x, first, form.rows, form.columns, width, form.divisor, result)


cdef inline bint is_from_afar(const Reduction *form) noexcept nogil:
    """Whether x has more than 1 MB, which a second-level cache does not hold, and lies in one piece like y."""
    return form.rows * form.columns > L2_REALS and is_contiguous(&form.x) and is_contiguous(&form.y)


cdef inline bint is_wide(const Reduction *form) noexcept nogil:
    """Whether, besides, a row is more than is summed in registers."""
    return form.columns > COLUMN_VECTORS * VL and is_from_afar(form)


cdef inline int64_t column_block(const Reduction *form, int64_t n_threads) noexcept nogil:
    """How many columns are reduced side by side: fewer where there would be less blocks than threads; and more than
    SPAN only where y is contiguous, which needs no buffer."""
    cdef int64_t columns = form.columns, block = STRIP_VECTORS * VL if is_wide(form) else COLUMN_VECTORS * VL
    while block > VL and columns <= (n_threads - 1) * block:
        block //= 2
    return block


cdef inline void reduce_to_columns(int kind, const Reduction *form, int thread, int n_threads) noexcept nogil:
    """A thread's blocks of columns, the last axis being kept."""
    cdef real buffer[SPAN]
    cdef int64_t first, last, i, outer, column, width, to
    cdef int64_t block = column_block(form, (n_threads + form.kept - 1) // max(form.kept, <int64_t> 1))
    cdef int64_t blocks = (form.columns + block - 1) // block
    share(form.kept * blocks, 1, thread, n_threads, &first, &last)
    for i in range(first, last):
        outer = i // blocks
        column = (i - outer * blocks) * block
        width = min(form.columns - column, block)
        to = outer * form.columns + column
        reduce_block(kind, form, outer * form.rows * form.columns + column, width, span_target(&form.y, to, buffer))
        write_span(&form.y, to, width, buffer)

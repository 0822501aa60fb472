# The next mini-batch's rows come from memory while this one is computed: a gather notes where they are, and products,
# which have arithmetic to do in the meantime, ask for some of their cache lines now and then.

cdef enum:
    LINE = 64              # bytes
    ASKING_WORK = 384      # multiply-adds for each line that is asked for: it comes from the third-level cache in less
    MOST_LINES = 32        # at a time: of more, the processor would wait for the first before it goes on
    ASKING_BANDS = 3       # narrow bands of a product between two times


cdef inline void note_coming(Coming *coming, const char *source, const int64_t *index, int64_t stride, int64_t size,
                             int64_t rows) noexcept nogil:
    """Notes rows of `size` bytes, `stride` bytes apart; of several gathers in a step, those that are most."""
    if size * rows > coming.size * coming.rows:
        coming.source, coming.index, coming.stride, coming.size = source, index, stride, size
        coming.rows, coming.row, coming.offset = rows, 0, 0


cdef inline bint is_coming(const Coming *coming) noexcept nogil:
    """Whether there is anything left to ask for."""
    return coming != NULL and coming.row < coming.rows


cdef inline void ask(Coming *coming, int64_t work) noexcept nogil:
    """Asks for as many lines as come while so many multiply-adds are done."""
    cdef int64_t lines = min(work // ASKING_WORK, <int64_t> MOST_LINES), row, part, i
    cdef const char *place
    while lines > 0 and coming.row < coming.rows:
        row = coming.row if coming.index == NULL else coming.index[coming.row]
        place = coming.source + row * coming.stride + coming.offset
        part = min(lines, (coming.size - coming.offset + LINE - 1) // LINE)
        for i in range(part):
            vprefetch_near(<const real *> (place + i * LINE))
        lines -= part
        coming.offset += part * LINE
        if coming.offset >= coming.size:
            coming.offset = 0
            coming.row += 1

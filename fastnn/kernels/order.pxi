# The order in which an epoch goes through its rows, and the batches that they make.


def shuffled(double[::1] draws) -> np.ndarray:
    """The numbers 0 ... n - 1, int64, in the order that n random numbers in [0, 1) say: it takes over their memory.

    Each number takes the place of one before it, which moves to the end, or stays there itself (Durstenfeld 1964, in
    the form that needs no list to begin with).
    """
    cdef int64_t n = draws.shape[0], i, place
    cdef int64_t *order
    cdef double draw
    if n > 0:
        order = <int64_t *> &draws[0]
        with nogil:
            for i in range(n):
                memcpy(&draw, order + i, sizeof(double))  # what follows writes there and before
                place = max(<int64_t> 0, min(<int64_t> (draw * (i + 1)), i))
                order[i] = order[place]
                order[place] = i
    return np.asarray(draws).view(np.int64)


def deal(double[:, ::1] table, int rows, int start, int64_t first, int64_t batch, int64_t n):
    """Writes batches of the rows from `first` on, as many as the table is long, into two columns: the rows of each, and
    its first row. The last of n rows may leave fewer for the last batch."""
    cdef int64_t i
    for i in range(table.shape[0]):
        table[i, rows] = min(batch, n - first)
        table[i, start] = first
        first += batch

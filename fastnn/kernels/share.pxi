# How threads share work, and how a kernel looks at its operands.


cdef inline void share(int64_t items, int64_t grain, int thread, int n_threads,
                       int64_t *first, int64_t *last) noexcept nogil:
    """Thread's part [first, last) of `items`, cut only at multiples of `grain`."""
    cdef int64_t grains = (items + grain - 1) // grain
    first[0] = min(items, grains * thread // n_threads * grain)
    last[0] = min(items, grains * (thread + 1) // n_threads * grain)


cdef inline int64_t count(const Operand *operand) noexcept nogil:
    """How many elements an operand has."""
    cdef int64_t total = 1
    cdef int axis
    for axis in range(operand.ndim):
        total *= operand.shape[axis]
    return total


cdef inline bint is_contiguous(const Operand *operand) noexcept nogil:
    """Whether the elements lie one after the other in C order."""
    return is_packed(operand, 0)


cdef inline bint is_packed(const Operand *operand, int axis) noexcept nogil:
    """Whether the elements of `axis` and the axes after it lie one after the other in C order."""
    cdef int64_t expected = 1
    cdef int each
    for each in range(operand.ndim - 1, axis - 1, -1):
        if operand.shape[each] != 1 and operand.stride[each] != expected:
            return False
        expected *= operand.shape[each]
    return True


cdef struct Walk:
    # A place in the axes from `axis` on of an operand of any strides, moving in C order from run to run: a run is what
    # is left of the innermost axis.
    int64_t offset, stride, left
    int64_t index[6]
    int axis


cdef inline void walk_to(Walk *walk, const Operand *operand, int axis, int64_t position) noexcept nogil:
    """Goes to the element at `position`, which is there, counted in C order over the axes from `axis` on."""
    cdef int each
    walk.axis = axis
    walk.offset, walk.stride, walk.left = 0, 0, 1
    for each in range(operand.ndim - 1, axis - 1, -1):
        walk.index[each] = position % operand.shape[each]
        position //= operand.shape[each]
        walk.offset += walk.index[each] * operand.stride[each]
    if operand.ndim > axis:
        each = operand.ndim - 1
        walk.stride = operand.stride[each]
        walk.left = operand.shape[each] - walk.index[each]


cdef inline void walk_on(Walk *walk, const Operand *operand) noexcept nogil:
    """Goes to the start of the next run."""
    cdef int each = operand.ndim - 1
    walk.offset += walk.left * walk.stride
    while each >= walk.axis:
        if each < operand.ndim - 1:
            walk.offset += operand.stride[each]
            walk.index[each] += 1
            if walk.index[each] < operand.shape[each]:
                break
        walk.offset -= operand.shape[each] * operand.stride[each]
        walk.index[each] = 0
        each -= 1
    if operand.ndim > walk.axis:
        walk.left = operand.shape[operand.ndim - 1]


cdef void collect_span(const Operand *operand, int64_t first, int64_t n, real *buffer) noexcept nogil:
    """Copies elements [first, first + n) in C order into `buffer`."""
    cdef const real *source = <const real *> operand.data
    cdef int64_t done = 0, i, length
    cdef Walk walk
    walk_to(&walk, operand, 0, first)
    while done < n:
        length = min(walk.left, n - done)
        for i in range(length):
            buffer[done + i] = source[walk.offset + i * walk.stride]
        done += length
        walk_on(&walk, operand)


cdef void spread_span(const Operand *operand, int64_t first, int64_t n, const real *buffer) noexcept nogil:
    """Copies `buffer` to elements [first, first + n) in C order."""
    cdef real *target = <real *> operand.data
    cdef int64_t done = 0, i, length
    cdef Walk walk
    walk_to(&walk, operand, 0, first)
    while done < n:
        length = min(walk.left, n - done)
        for i in range(length):
            target[walk.offset + i * walk.stride] = buffer[done + i]
        done += length
        walk_on(&walk, operand)


cdef inline const real *read_span(const Operand *operand, int64_t first, int64_t n, real *buffer) noexcept nogil:
    """Elements [first, first + n) in C order: where they lie if they are contiguous, else copied into `buffer`."""
    if is_contiguous(operand):
        return <const real *> operand.data + first
    collect_span(operand, first, n, buffer)
    return buffer


cdef inline void write_span(const Operand *operand, int64_t first, int64_t n, const real *buffer) noexcept nogil:
    """Copies `buffer` to elements [first, first + n) in C order, unless it is their own memory already."""
    if not is_contiguous(operand):
        spread_span(operand, first, n, buffer)


cdef inline real *span_target(const Operand *operand, int64_t first, real *buffer) noexcept nogil:
    """Where elements from `first` on are to be written before `write_span` takes them to their places."""
    return <real *> operand.data + first if is_contiguous(operand) else buffer


cdef enum:
    SPAN = 256  # elements of a buffer for spans: a multiple of LANES; no result depends on it


cdef inline int64_t longest_span(const Operand *operand, int64_t n) noexcept nogil:
    """How many of n elements fit into one span: all of them if they need no buffer."""
    return n if is_contiguous(operand) else min(n, SPAN)


cdef inline real element(const Operand *operand, int64_t position) noexcept nogil:
    """One element, by its position in C order."""
    cdef real buffer[1]
    return read_span(operand, position, 1, buffer)[0]


cdef inline void put_span(const Operand *operand, int64_t first, int64_t n, const real *values) noexcept nogil:
    """Copies values to elements [first, first + n) in C order."""
    if is_contiguous(operand):
        memmove(<real *> operand.data + first, values, n * sizeof(real))
    else:
        spread_span(operand, first, n, values)


cdef inline void set_element(const Operand *operand, int64_t position, real value) noexcept nogil:
    put_span(operand, position, 1, &value)


cdef inline void rearrange(Operand *view, const Operand *operand) noexcept nogil:
    """Starts a view of an operand's memory with other axes; `add_axis` adds them, the outermost first."""
    view.data = operand.data
    view.type, view.padded = operand.type, operand.padded
    view.ndim = 0


cdef inline void add_axis(Operand *view, int64_t size, int64_t stride) noexcept nogil:
    """One more axis inside the others, merged with the last where memory allows: few axes make spans cheap."""
    cdef int last = view.ndim - 1
    if size == 1:
        return
    if last >= 0 and view.stride[last] == size * stride:
        view.shape[last] *= size
        view.stride[last] = stride
        return
    view.shape[last + 1] = size
    view.stride[last + 1] = stride
    view.ndim += 1


cdef inline void merge(Operand *view, const Operand *operand) noexcept nogil:
    """The operand with as few axes as possible."""
    cdef int axis
    rearrange(view, operand)
    for axis in range(operand.ndim):
        add_axis(view, operand.shape[axis], operand.stride[axis])


cdef inline int64_t before_line(const real *p) noexcept nogil:
    """How many elements come before the first that begins a cache line.

    NumPy's arrays begin 16 bytes into one, and a vector that lies in two lines takes as long as two. Tiles that are a
    line wide then read each line once.
    """
    return -<int64_t> (<uintptr_t> p // sizeof(real)) & (64 // <int64_t> sizeof(real) - 1)


cdef inline bint shares_sets(int64_t stride) noexcept nogil:
    """Whether runs of numbers that lie so far apart have to share few places (sets) in the caches."""
    return stride * <int64_t> sizeof(real) % 4096 == 0


cdef inline bint crowds(int64_t stride, int64_t lines) noexcept nogil:
    """Whether so many cache lines that lie so far apart would be all that the first-level cache has places for: one in
    g bytes, if their distance is a multiple of g, a power of two from a line to 4096 bytes."""
    cdef int64_t apart = stride * <int64_t> sizeof(real)
    cdef int64_t g = min(max(apart & -apart, <int64_t> 64), <int64_t> 4096)
    return lines * g >= 2 * L1_REALS * <int64_t> sizeof(real)


cdef inline int64_t with_padding(const Operand *operand, int64_t n) noexcept nogil:
    """How many of n contiguous elements may be read and written as well: up to a vector's end where these are nobody's.

    A masked store keeps whoever reads what it has stored waiting for twice as long as a whole one.
    """
    return (n + VL - 1) & -<int64_t> VL if operand.padded else n


cdef inline vf load_up_to(const real *p, int64_t n, vf fill) noexcept nogil:
    """n elements, a filling behind them if they are fewer than a vector."""
    return vload(p) if n >= VL else vselect(vleading(n), vload_part(p, n), fill)


cdef inline void store_up_to(real *p, vf x, int64_t n) noexcept nogil:
    """The first n elements of a vector, or all of it."""
    if n >= VL:
        vstore(p, x)
    else:
        vstore_part(p, x, n)

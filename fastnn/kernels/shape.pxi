# Kernels that only move elements: copies under another shape, permutations, broadcasts, slices and concatenations.


cdef void move(const Operand *y, const Operand *x, int64_t total, real divisor, int thread,
               int n_threads) noexcept nogil:
    """y = x / divisor, element by element in the order of both."""
    cdef real source_buffer[SPAN]
    cdef real target_buffer[SPAN]
    cdef const real *source
    cdef real *target
    cdef int64_t first, last, n, i, longest = min(longest_span(x, total), longest_span(y, total))
    share(total, SPAN, thread, n_threads, &first, &last)
    while first < last:
        n = min(last - first, longest)
        source = read_span(x, first, n, source_buffer)
        target = span_target(y, first, target_buffer)
        if divisor == 1:
            memmove(target, source, n * sizeof(real))
        else:
            for i in range(n):
                target[i] = source[i] / divisor
        write_span(y, first, n, target_buffer)
        first += n


cdef void part_of(Operand *view, const Operand *operand, int64_t axis, int64_t start, int64_t size) noexcept nogil:
    """Those elements of an operand whose index along an axis is start ... start + size - 1."""
    cdef Operand part = operand[0]
    part.data += start * part.stride[axis] * <int64_t> sizeof(real)
    part.shape[axis] = size
    merge(view, &part)


cdef int copy(const Instruction *instruction, int thread, int n_threads) noexcept nogil:
    """y = x under another shape. Operands: y, x."""
    cdef Operand y, x
    merge(&y, &instruction.operand[0])
    merge(&x, &instruction.operand[1])
    move(&y, &x, count(&instruction.operand[0]), 1, thread, n_threads)
    return KERNEL_OK


cdef int permute(const Instruction *instruction, int thread, int n_threads) noexcept nogil:
    """y = x with its axes in another order. Operands: y, x. Integers: for each axis of y, that of x."""
    cdef const Operand *source = &instruction.operand[1]
    cdef Operand y, x
    cdef int64_t axis
    cdef int i
    merge(&y, &instruction.operand[0])
    rearrange(&x, source)
    for i in range(source.ndim):
        axis = instruction.integer[i]
        add_axis(&x, source.shape[axis], source.stride[axis])
    move(&y, &x, count(source), 1, thread, n_threads)
    return KERNEL_OK


cdef int broadcast(const Instruction *instruction, int thread, int n_threads) noexcept nogil:
    """y = x repeated along axes that it lacks or where it has one element, or that divided by the number of copies.

    Operands: y, x. Integers: a bit mask of the axes of y that x lacks; whether to divide.
    """
    cdef const Operand *target = &instruction.operand[0]
    cdef const Operand *source = &instruction.operand[1]
    cdef Operand y, x
    cdef int64_t copies = count(target) // max(count(source), 1)
    cdef int axis, at = 0
    merge(&y, target)
    rearrange(&x, source)
    for axis in range(target.ndim):
        if (instruction.integer[0] >> axis) & 1:
            add_axis(&x, target.shape[axis], 0)
        else:
            add_axis(&x, target.shape[axis], 0 if source.shape[at] == 1 else source.stride[at])
            at += 1
    move(&y, &x, count(target), <real> copies if instruction.integer[1] else 1, thread, n_threads)
    return KERNEL_OK


cdef int slice_axis(const Instruction *instruction, int thread, int n_threads) noexcept nogil:
    """y = x[start: start + n] along an axis, n being y's size. Operands: y, x. Integers: axis, start."""
    cdef const Operand *target = &instruction.operand[0]
    cdef int64_t axis = instruction.integer[0]
    cdef Operand y, x
    merge(&y, target)
    part_of(&x, &instruction.operand[1], axis, instruction.integer[1], target.shape[axis])
    move(&y, &x, count(target), 1, thread, n_threads)
    return KERNEL_OK


cdef int slice_gradient(const Instruction *instruction, int thread, int n_threads) noexcept nogil:
    """dx = dy at start ... along an axis, and zero before and behind. Operands: dx, dy. Integers: axis, start."""
    cdef const Operand *target = &instruction.operand[0]
    cdef const Operand *source = &instruction.operand[1]
    cdef int64_t axis = instruction.integer[0], start = instruction.integer[1]
    cdef int64_t size = source.shape[axis], whole = target.shape[axis]
    cdef int64_t line = count(target) // max(whole, 1)  # elements for each index of the axis
    cdef real zero = 0
    cdef Operand dx, dy, nothing_there
    merge(&dy, source)
    rearrange(&nothing_there, source)
    nothing_there.data = <char *> &zero
    add_axis(&nothing_there, count(target), 0)
    part_of(&dx, target, axis, 0, start)
    move(&dx, &nothing_there, start * line, 1, thread, n_threads)
    part_of(&dx, target, axis, start, size)
    move(&dx, &dy, size * line, 1, thread, n_threads)
    part_of(&dx, target, axis, start + size, whole - start - size)
    move(&dx, &nothing_there, (whole - start - size) * line, 1, thread, n_threads)
    return KERNEL_OK


cdef int concatenate(const Instruction *instruction, int thread, int n_threads) noexcept nogil:
    """y = the inputs, one behind the other along an axis. Operands: y, inputs. Integers: axis."""
    cdef int64_t axis = instruction.integer[0], at = 0
    cdef const Operand *x
    cdef Operand source, target
    cdef int i
    for i in range(1, instruction.n_operands):
        x = &instruction.operand[i]
        merge(&source, x)
        part_of(&target, &instruction.operand[0], axis, at, x.shape[axis])
        move(&target, &source, count(x), 1, thread, n_threads)
        at += x.shape[axis]
    return KERNEL_OK

"""The compiled front of calls on arrays: checks usual operands in C and runs the kernel, all in some 200 nanoseconds.

Usual are NumPy arrays of one floating-point type, Python numbers beside them, and shapes that fit. It is no second way
to compute: it fills the same instruction as the general way in `ops/_dispatch.py`, which takes whatever is unusual,
converts it or says what is wrong with it.
"""

from libc.stdint cimport int64_t, uintptr_t
from libc.stdlib cimport free, malloc

cimport numpy as cnp
from cpython.float cimport PyFloat_CheckExact
from cpython.long cimport PyLong_CheckExact

from fastnn.kernels.executor cimport bind_array, fill_attributes, run_instruction, team_for
from fastnn.kernels.instruction cimport (
    KERNEL_OK, MAX_DIMS, TYPE_FLOAT32, Instruction, Kernel, Operand,
)

cnp.import_array()

cdef enum:
    BROADCAST  # one result, of the shape that all inputs have together
    PRODUCT    # c[m, n] from a[m, k], b[k, n] and perhaps bias[n]
    MAX_INPUTS = 5

cdef tuple DTYPES = ("float32", "float64")  # by type code
RULES = {"broadcast": BROADCAST, "product": PRODUCT}


cdef class Front:
    """What a call needs to know of an operation; see `Operation.eager` for the rule."""

    cdef object kernel, address_of, product_scratch
    cdef tuple integers, numbers  # of a call without attributes; None if there has to be one
    cdef size_t addresses[2]      # float32, float64; 0 before the first use
    cdef double cost
    cdef int rule, n_outputs

    def __init__(self, operation, address_of, product_scratch):
        self.kernel = operation.kernel
        self.address_of = address_of
        self.product_scratch = product_scratch
        self.rule = RULES[operation.eager]
        self.n_outputs = operation.kernel.n_outputs or 1
        self.cost = operation.cost
        try:
            self.integers, self.numbers = self.kernel.integers({}), self.kernel.numbers({})
        except KeyError:  # it cannot be called without attributes
            self.integers = self.numbers = None

    cdef size_t address(self, int type) except 0:
        if self.addresses[type] == 0:
            self.addresses[type] = self.address_of(self.kernel.name, DTYPES[type])
        return self.addresses[type]

    cdef int64_t scratch(self, int type, const cnp.npy_intp *shape, int64_t k) except -1:
        """Bytes that each thread needs."""
        return self.product_scratch(shape[0], shape[1], k, DTYPES[type]) if self.rule == PRODUCT else 0


cdef struct Numbers:
    # Memory for Python numbers among the inputs.
    double as_double[MAX_INPUTS]
    float as_float[MAX_INPUTS]


cdef inline bint is_usual(value) noexcept:
    """Whether it is an array, no subclass, of one of the kernels' types, aligned and in the machine's byte order."""
    if not cnp.PyArray_CheckExact(value):
        return False
    cdef cnp.ndarray array = value
    cdef int type = cnp.PyArray_TYPE(array)
    return ((type == cnp.NPY_FLOAT32 or type == cnp.NPY_FLOAT64) and cnp.PyArray_NDIM(array) <= MAX_DIMS
            and cnp.PyArray_ISBEHAVED_RO(array))


cdef int read_inputs(Operand *operand, Numbers *numbers, tuple inputs) except -2:
    """Binds the inputs; returns the arrays' type, or -1 if anything is unusual."""
    cdef int i, count = len(inputs), found = -1
    for i in range(count):
        value = inputs[i]
        operand[i].ndim = 0
        operand[i].data = NULL
        if PyFloat_CheckExact(value) or PyLong_CheckExact(value):
            numbers.as_double[i] = value
            numbers.as_float[i] = <float> numbers.as_double[i]
            operand[i].data = <char *> &numbers.as_double[i]
        elif is_usual(value):
            bind_array(&operand[i], value)
            if found != -1 and operand[i].type != found:
                return -1
            found = operand[i].type
        elif value is not None:
            return -1
    if found == TYPE_FLOAT32:
        for i in range(count):
            if operand[i].data == <char *> &numbers.as_double[i]:
                operand[i].data = <char *> &numbers.as_float[i]
    return found


cdef int broadcast_shape(const Operand *operand, int count, cnp.npy_intp *shape) noexcept:
    """Writes the shape that all operands have together and returns its dimensions; -1 if they do not fit."""
    cdef int i, axis, ndim = 0
    cdef int64_t size
    for i in range(count):
        if operand[i].data == NULL:
            return -1
        ndim = max(ndim, operand[i].ndim)
    for axis in range(ndim):
        shape[axis] = 1
    for i in range(count):
        for axis in range(operand[i].ndim):
            size = operand[i].shape[axis]
            if size != 1 and size != shape[axis + ndim - operand[i].ndim]:
                if shape[axis + ndim - operand[i].ndim] != 1:
                    return -1
                shape[axis + ndim - operand[i].ndim] = size
    return ndim


cdef int product_shape(const Operand *operand, int count, const int64_t *flags, cnp.npy_intp *shape,
                       int64_t *k) noexcept:
    """As `broadcast_shape`, for a, b and bias; `k` is what is summed over. Flags: a, b transposed, accumulate."""
    cdef const Operand *a = &operand[0]
    cdef const Operand *b = &operand[1]
    if a.ndim != 2 or b.ndim != 2 or flags[2]:
        return -1
    shape[0], shape[1] = a.shape[flags[0]], b.shape[1 - flags[1]]
    k[0] = a.shape[1 - flags[0]]
    if b.shape[flags[1]] != k[0]:
        return -1
    if count > 2 and operand[2].data != NULL and (operand[2].ndim != 1 or operand[2].shape[0] != shape[1]):
        return -1
    return 2


cdef inline void bounds(const Operand *operand, int64_t size, const char **first, const char **last) noexcept:
    """The first byte of an array in memory, and the byte after its last."""
    cdef int axis
    cdef int64_t reach
    first[0], last[0] = operand.data, operand.data + size
    for axis in range(operand.ndim):
        reach = (operand.shape[axis] - 1) * operand.stride[axis] * size
        if reach < 0:
            first[0] += reach
        else:
            last[0] += reach


cdef bint same_layout(const Operand *a, const Operand *b) noexcept:
    cdef int axis
    if a.data != b.data or a.ndim != b.ndim:
        return False
    for axis in range(a.ndim):
        if a.shape[axis] != b.shape[axis] or a.stride[axis] != b.stride[axis]:
            return False
    return True


cdef bint disturbs(const Operand *out, const Operand *operand, int count, bint elementwise) noexcept:
    """Whether writing `out` may change what is still to be read of an operand. Elementwise, the same place is fine."""
    cdef int64_t size = 4 if out.type == TYPE_FLOAT32 else 8
    cdef const char *first
    cdef const char *last
    cdef const char *other_first
    cdef const char *other_last
    cdef int i
    bounds(out, size, &first, &last)
    for i in range(count):
        if operand[i].data != NULL and not (elementwise and same_layout(out, &operand[i])):
            bounds(&operand[i], size, &other_first, &other_last)
            if first < other_last and other_first < last:
                return True
    return False


cdef cnp.ndarray target_for(out, int type, int ndim, cnp.npy_intp *shape):
    """The array for the result: a new one, or `out` if it is usual and fits; else None."""
    cdef int axis, number = cnp.NPY_FLOAT32 if type == TYPE_FLOAT32 else cnp.NPY_FLOAT64
    cdef cnp.ndarray array
    if out is None:
        return cnp.PyArray_EMPTY(ndim, shape, number, 0)
    if not is_usual(out) or cnp.PyArray_NDIM(<cnp.ndarray> out) != ndim:
        return None
    array = out
    if cnp.PyArray_TYPE(array) != number or not cnp.PyArray_ISWRITEABLE(array):
        return None
    for axis in range(ndim):
        if cnp.PyArray_DIM(array, axis) != shape[axis]:
            return None
    return array


cdef double work_of(Front front, int type, int count, int ndim, const cnp.npy_intp *shape, int64_t k) noexcept:
    """Nanoseconds on one thread: arithmetic or memory, whichever takes longer."""
    cdef int axis
    cdef double elements = 1.0
    for axis in range(ndim):
        elements *= shape[axis]
    if front.rule == PRODUCT:
        return 2.0 * elements * k * front.cost
    return elements * max(front.cost, (count + 1) * (4 if type == TYPE_FLOAT32 else 8) / 20.0)


cpdef attempt(Front front, tuple inputs, out, dict attributes):
    """Runs the operation and returns its result; None if this is not a usual call."""
    cdef Instruction instruction
    cdef Numbers numbers
    cdef cnp.npy_intp shape[MAX_DIMS]
    cdef int64_t k = 0
    cdef int ndim, type, status, count = len(inputs)
    cdef Operand *operand = &instruction.operand[front.n_outputs]
    if count > MAX_INPUTS or (front.integers is None and not attributes):
        return None
    type = read_inputs(operand, &numbers, inputs)
    if type == -1:
        return None
    if attributes:
        fill_attributes(&instruction, front.kernel.integers(attributes), front.kernel.numbers(attributes))
    else:
        fill_attributes(&instruction, front.integers, front.numbers)
    if front.rule == PRODUCT:
        ndim = product_shape(operand, count, instruction.integer, shape, &k)
    else:
        ndim = broadcast_shape(operand, count, shape)
    target = None if ndim == -1 else target_for(out, type, ndim, shape)
    if target is None:
        return None
    bind_array(&instruction.operand[0], target)
    if out is not None and disturbs(&instruction.operand[0], operand, count, front.rule == BROADCAST):
        return None
    instruction.kernel = <Kernel> <void *> front.address(type)
    instruction.n_operands = front.n_outputs + count
    instruction.n_outputs = front.n_outputs
    if front.n_outputs == 2:  # the second output of a product is for the graph
        instruction.operand[1].data = NULL
    instruction.run = NULL
    instruction.work = work_of(front, type, count, ndim, shape, k)
    status = run_with_scratch(&instruction, team_for(instruction.work, 0), front.scratch(type, shape, k))
    return target if status == KERNEL_OK else None


cdef int run_with_scratch(Instruction *instruction, int team, int64_t size) except -1:
    """Runs it with `size` bytes of scratch memory, rounded up to cache lines, for each thread of the team."""
    cdef char *memory = NULL
    cdef int status
    instruction.scratch = NULL
    instruction.scratch_size = (size + 63) // 64 * 64
    if size > 0:
        memory = <char *> malloc(team * instruction.scratch_size + 64)
        if memory == NULL:
            raise MemoryError("no memory for a product's scratch space")
        instruction.scratch = memory + (64 - <uintptr_t> memory % 64) % 64
    status = run_instruction(instruction, team)
    free(memory)
    return status


def make_dispatch(prepare, general):
    """The entry of all operations: the front where `prepare(name)` gives one and the call is usual, else `general`."""
    cdef dict fronts = {}

    def dispatch(str name, inputs, out=None, *, labels=(), run=None, **attributes):
        front = fronts.get(name, fronts)
        if front is fronts:
            front = fronts[name] = prepare(name)
        if front is not None:
            result = attempt(front, tuple(inputs), out, attributes)
            if result is not None:
                return result
        return general(name, inputs, out, labels, run, attributes)

    return dispatch

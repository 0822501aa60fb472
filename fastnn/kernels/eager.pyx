"""The compiled front of calls on arrays: checks usual operands in C and runs the kernel, all in some 150 nanoseconds.

Elementwise operations and products have a rule in C for the shape of their result (`attempt`). Of others the front
remembers what followed from the shapes of earlier calls (`Call`). Usual are NumPy arrays of one floating-point type,
Python numbers beside them, and shapes that fit. It is no second way to compute: it fills the same instruction as the
general way in `ops/_dispatch.py`, which takes whatever is unusual, converts it or says what is wrong with it.
"""

from libc.stdint cimport int64_t, uintptr_t
from libc.stdlib cimport free, malloc

cimport numpy as cnp
from cpython.float cimport PyFloat_CheckExact
from cpython.long cimport PyLong_CheckExact
from cpython.object cimport PyObject

from fastnn.kernels.executor cimport bind_array, fill_attributes, run_instruction, team_for
from fastnn.kernels.instruction cimport (
    KERNEL_OK, MAX_DIMS, MAX_OPERANDS, TYPE_FLOAT32, Instruction, Kernel, Operand, Prepare,
    item_size,
)

from fastnn.program import FAR_SPEED, NEAR_BYTES, NEAR_SPEED

cnp.import_array()

cdef double near_bytes = NEAR_BYTES, near_speed = NEAR_SPEED, far_speed = FAR_SPEED

cdef enum:
    BROADCAST  # one result, of the shape that all inputs have together
    PRODUCT    # c[m, n] from a[m, k], b[k, n] and perhaps bias[n]
    NO_RULE    # calls are remembered instead
    MAX_INPUTS = 5

MAX_AXES = MAX_DIMS  # of an array
ctypedef int64_t (*Scratch)(int64_t m, int64_t n, int64_t k, int64_t n_threads) noexcept nogil

cdef tuple DTYPES = ("float32", "float64")  # by type code
RULES = {"broadcast": BROADCAST, "product": PRODUCT, None: NO_RULE}

include "remembered.pxi"


cdef class Front:
    """What a call needs to know of an operation; see `Operation.eager` for the rule."""

    cdef object kernel, address_of, preparation_of, scratch_address_of
    cdef tuple integers, numbers  # of a call without attributes; None if there has to be one
    cdef size_t addresses[2]      # float32, float64; 0 before the first use
    cdef Prepare prepare[2]       # of products: finds a shorter way for small ones
    cdef Scratch scratch_for[2]
    cdef double cost
    cdef int rule, n_outputs
    cdef list calls               # the latest first

    def __init__(self, operation, address_of, preparation_of, scratch_address_of):
        self.calls = []
        self.rule = RULES[operation.eager]
        if self.rule == NO_RULE:
            return
        self.kernel = operation.kernel
        self.address_of = address_of
        self.preparation_of = preparation_of
        self.scratch_address_of = scratch_address_of
        self.n_outputs = operation.kernel.n_outputs or 1
        self.cost = operation.cost
        try:
            self.integers, self.numbers = self.kernel.integers({}), self.kernel.numbers({})
        except KeyError:  # it cannot be called without attributes
            self.integers = self.numbers = None

    def remember(self, Call call, tuple inputs, tuple labels, dict attributes):
        """From now on, such calls are made without asking what they need; unless they are unusual."""
        if call.fits_all(inputs, labels, attributes):
            self.calls = [call, *self.calls[:MOST_CALLS - 1]]

    cpdef Call find(self, tuple inputs, tuple labels, dict attributes):
        """The call that is remembered for such inputs, or None."""
        cdef Call call
        for call in self.calls:
            if call.fits_all(inputs, labels, attributes):
                return call
        return None

    cpdef tuple recall(self, tuple inputs, out, tuple labels, dict attributes, run):
        """Makes a call again that is remembered, and returns its results; None where that is not to be had."""
        cdef Call call = self.find(inputs, labels, attributes)
        if call is None:
            return None
        results = call.targets(out)
        if results is None or call.run(results, inputs, run, out is not None) != KERNEL_OK:
            return None
        return results

    cdef size_t address(self, int type) except 0:
        if self.addresses[type] == 0:
            self.scratch_for[type] = <Scratch> <void *> <size_t> self.scratch_address_of(DTYPES[type])
            self.prepare[type] = <Prepare> <void *> <size_t> self.preparation_of(self.kernel.name, DTYPES[type])
            self.addresses[type] = self.address_of(self.kernel.name, DTYPES[type])
        return self.addresses[type]


cdef struct Numbers:
    # Memory for Python numbers among the inputs.
    double as_double[MAX_INPUTS]
    float as_float[MAX_INPUTS]


cdef inline bint is_behaved(value) noexcept:
    """Whether it is an array, no subclass, aligned and in the machine's byte order."""
    return cnp.PyArray_CheckExact(value) and cnp.PyArray_ISBEHAVED_RO(<cnp.ndarray> value)


cdef inline bint is_usual(value) noexcept:
    """Whether it is such an array of one of the kernels' types."""
    if not is_behaved(value):
        return False
    cdef int type = cnp.PyArray_TYPE(<cnp.ndarray> value)
    return ((type == cnp.NPY_FLOAT32 or type == cnp.NPY_FLOAT64)
            and cnp.PyArray_NDIM(<cnp.ndarray> value) <= MAX_DIMS)


cdef int read_inputs(Operand *operand, Numbers *numbers, PyObject **inputs, int count) except -2:
    """Binds the inputs; returns the arrays' type, or -1 if anything is unusual."""
    cdef int i, found = -1
    for i in range(count):
        value = <object> inputs[i]
        operand[i].ndim = 0
        operand[i].type, operand[i].padded = TYPE_FLOAT32, False
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


cdef inline void bounds(const Operand *operand, const char **first, const char **last) noexcept:
    """The first byte of an array in memory, and the byte after its last."""
    cdef int axis
    cdef int64_t reach, size = item_size(operand.type)
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
    cdef const char *first
    cdef const char *last
    cdef const char *other_first
    cdef const char *other_last
    cdef int i
    bounds(out, &first, &last)
    for i in range(count):
        if operand[i].data != NULL and not (elementwise and same_layout(out, &operand[i])):
            bounds(&operand[i], &other_first, &other_last)
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
    """Nanoseconds on one thread: arithmetic or memory, whichever takes longer (as `Operation.work` in program.py)."""
    cdef int axis
    cdef double elements = 1.0, flops, numbers, memory
    for axis in range(ndim):
        elements *= shape[axis]
    flops, numbers = elements, elements * (count + 1)
    if front.rule == PRODUCT:
        flops, numbers = 2.0 * elements * k, elements + (<double> shape[0] + shape[1]) * k
    memory = numbers * item_size(type)
    return max(flops * front.cost, memory / near_speed + max(0.0, memory - near_bytes) / far_speed)


cpdef attempt(Front front, tuple inputs, out, dict attributes):
    """Runs the operation and returns its result; None if this is not a usual call."""
    cdef Instruction instruction
    cdef PyObject *given[MAX_INPUTS]
    cdef int i, count = len(inputs)
    if count > MAX_INPUTS:
        return None
    for i in range(count):
        given[i] = <PyObject *> inputs[i]
    if attributes:
        fill_attributes(&instruction, front.kernel.integers(attributes), front.kernel.numbers(attributes))
    elif front.integers is None:
        return None
    else:
        fill_attributes(&instruction, front.integers, front.numbers)
    return run_usual(front, &instruction, given, count, out)


cdef run_usual(Front front, Instruction *instruction, PyObject **inputs, int count, out):
    """The same with the attributes in place."""
    cdef Numbers numbers
    cdef Kernel shorter
    cdef cnp.npy_intp shape[MAX_DIMS]
    cdef int64_t k = 0, scratch = 0
    cdef int ndim, type, team
    cdef Operand *operand = &instruction.operand[front.n_outputs]
    type = read_inputs(operand, &numbers, inputs, count)
    if type == -1:
        return None
    instruction.kernel = <Kernel> <void *> front.address(type)
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
    instruction.n_operands = front.n_outputs + count
    instruction.n_outputs = front.n_outputs
    if front.n_outputs == 2:  # the second output of a product is for the graph
        instruction.operand[1].data = NULL
    instruction.run = NULL
    instruction.coming = NULL
    instruction.closes = False
    instruction.work = work_of(front, type, count, ndim, shape, k)
    team = team_for(instruction.work)
    if front.rule == PRODUCT:
        scratch = front.scratch_for[type](shape[0], shape[1], k, team)
        shorter = front.prepare[type](instruction, team)
        if shorter != NULL:
            instruction.kernel = shorter
    if run_with_scratch(instruction, team, scratch) != KERNEL_OK:
        return None
    return target


def product_with_front(Front front, general):
    """`general`, which is `ops.matmul`, with the front before it: usual products never reach the interpreter."""

    def matmul(a, b, *, bias=None, transpose_a=False, transpose_b=False, accumulate=False, dtype=None,
               out=None):
        cdef Instruction instruction
        cdef int64_t *flags = instruction.integer
        cdef PyObject *inputs[3]
        if not accumulate and dtype is None:
            flags[0], flags[1] = bool(transpose_a), bool(transpose_b)
            flags[2] = flags[3] = flags[4] = 0  # nothing to accumulate to, no epilogue
            inputs[0], inputs[1], inputs[2] = <PyObject *> a, <PyObject *> b, <PyObject *> bias
            result = run_usual(front, &instruction, inputs, 3, out)
            if result is not None:
                return result
        return general(a, b, bias=bias, transpose_a=transpose_a, transpose_b=transpose_b, accumulate=accumulate,
                       dtype=dtype, out=out)

    return matmul


cdef int run_with_scratch(Instruction *instruction, int team, int64_t size) except -1:
    """Runs it with `size` bytes of scratch memory, rounded up to cache lines, for each thread of the team."""
    cdef char *memory = NULL
    cdef int status
    instruction.scratch = NULL
    instruction.scratch_size = (size + 63) // 64 * 64
    if size > 0:
        memory = <char *> malloc(team * instruction.scratch_size + 64)
        if memory == NULL:
            raise MemoryError("no memory for a kernel's scratch space")
        instruction.scratch = memory + (64 - <uintptr_t> memory % 64) % 64
    status = run_instruction(instruction, team)
    free(memory)
    return status


def make_dispatch(prepare, general):
    """The entry of all operations: the front that `prepare(name)` gives where the call is usual, else `general`."""
    cdef dict fronts = {}

    def dispatch(str name, inputs, out=None, *, tuple labels=(), run=None, **attributes):
        cdef tuple given = tuple(inputs), results
        cdef Front front = fronts.get(name)
        if front is None:
            front = fronts[name] = prepare(name)
        if front.rule == NO_RULE:
            results = front.recall(given, out, labels, attributes, run)
            if results is not None:
                return results[0] if len(results) == 1 else results
        else:
            result = attempt(front, given, out, attributes)
            if result is not None:
                return result
        return general(name, given, out, labels, run, attributes)

    return dispatch

# Calls that have been made before. What follows from the shapes and types of operands and from attributes is found out
# once, in Python (ops/_dispatch.py), and remembered by the operation's front.

cdef enum:
    MOST_CALLS = 16  # that a front remembers
    MOST_SLOTS = 8

DISTURBED = -1  # a call's status: writing a result might change what is still to be read


cdef class Call:
    """A call of a kernel on operands of certain shapes and types, complete but for their memory.

    Parameters
    ----------
    kernel
        Its address.
    operands
        Shape and NumPy type of each operand, as the kernel takes them; None for absent ones.
    results
        What the operation returns: a Spec for each of the first operands.
    n_inputs
        How many of the last operands are inputs.
    labels, attributes
        Of the operation's call.
    slots
        Names of the numbers in the run row.
    integers, numbers
        The kernel's attributes.
    work
        Nanoseconds on one thread.
    scratch
        Bytes that each thread needs.
    parallel, closes
        Whether the kernel can share its work, and has to close it.
    in_place
        Whether a result may be an input, in the very same place: the kernel is made for that.
    """

    cdef Instruction instruction
    cdef int type_number[MAX_OPERANDS]  # NumPy's; -1: absent
    cdef readonly tuple results
    cdef tuple labels, slots
    cdef dict attributes
    cdef int n_results, first_input, n_inputs
    cdef int64_t scratch
    cdef bint parallel, in_place

    def __init__(self, size_t kernel, *, tuple operands, tuple results, int n_inputs, tuple labels, dict attributes,
                 tuple slots, tuple integers, tuple numbers, double work, int64_t scratch, bint parallel,
                 bint closes, bint in_place):
        if len(operands) > MAX_OPERANDS or len(slots) > MOST_SLOTS:
            raise ValueError(f"a call has room for {MAX_OPERANDS} operands and {MOST_SLOTS} slots")
        self.labels, self.attributes, self.slots = labels, attributes, slots
        self.results, self.n_results = results, len(results)
        self.n_inputs, self.first_input = n_inputs, len(operands) - n_inputs
        self.scratch, self.parallel, self.in_place = scratch, parallel, in_place
        self.instruction.kernel = <Kernel> <void *> kernel
        self.instruction.n_operands = len(operands)
        self.instruction.n_outputs = self.first_input
        self.instruction.work = work
        self.instruction.closes = closes
        fill_attributes(&self.instruction, integers, numbers)
        for i, described in enumerate(operands):
            self.instruction.operand[i].data = NULL
            self.instruction.operand[i].ndim = 0
            self.type_number[i] = -1
            if described is not None:
                shape, dtype = described
                self.type_number[i] = dtype.num
                self.instruction.operand[i].ndim = len(shape)
                for axis, size in enumerate(shape):
                    self.instruction.operand[i].shape[axis] = size

    cdef bint fits(self, int i, value) noexcept:
        """Whether a value is just what operand i was: absent, or a usual array of that shape and type."""
        cdef int axis
        cdef const Operand *operand = &self.instruction.operand[i]
        if value is None or self.type_number[i] == -1:
            return value is None and self.type_number[i] == -1
        if not is_behaved(value):
            return False
        cdef cnp.ndarray array = value
        if cnp.PyArray_TYPE(array) != self.type_number[i] or cnp.PyArray_NDIM(array) != operand.ndim:
            return False
        for axis in range(operand.ndim):
            if cnp.PyArray_DIM(array, axis) != operand.shape[axis]:
                return False
        return True

    cdef bint fits_all(self, tuple inputs, tuple labels, dict attributes) except -1:
        cdef int i
        if len(inputs) != self.n_inputs:
            return False
        for i in range(self.n_inputs):
            if not self.fits(self.first_input + i, inputs[i]):
                return False
        return labels == self.labels and attributes == self.attributes

    cdef tuple targets(self, out):
        """The arrays for the results: new ones, or those in `out` if they are usual and fit; else None."""
        cdef int i, axis
        cdef cnp.npy_intp shape[MAX_DIMS]
        if out is None:
            made = []
            for i in range(self.n_results):
                for axis in range(self.instruction.operand[i].ndim):
                    shape[axis] = self.instruction.operand[i].shape[axis]
                made.append(cnp.PyArray_EMPTY(self.instruction.operand[i].ndim, shape, self.type_number[i], 0))
            return tuple(made)
        given = out if type(out) is tuple else tuple(out) if type(out) is list else (out,)
        if len(given) != self.n_results:
            return None
        for i in range(self.n_results):
            if not self.fits(i, given[i]) or not cnp.PyArray_ISWRITEABLE(<cnp.ndarray> given[i]):
                return None
        return given

    def run(self, tuple results, tuple inputs, run, bint careful=False) -> int:
        """Runs the kernel on arrays that fit and returns its status; `run` maps the slots' names to numbers.

        If `careful`, it does nothing where writing a result might change what is still to be read: it returns
        DISTURBED.
        """
        cdef Instruction instruction = self.instruction  # its own: other threads may make the same call
        cdef double row[MOST_SLOTS]
        cdef int i
        for i in range(self.n_results):
            bind_array(&instruction.operand[i], results[i])
        for i in range(self.n_inputs):
            if inputs[i] is not None:
                bind_array(&instruction.operand[self.first_input + i], inputs[i])
        for i in range(self.n_results if careful else 0):
            if disturbs(&instruction.operand[i], &instruction.operand[self.first_input], self.n_inputs, self.in_place):
                return DISTURBED
        for i in range(len(self.slots)):
            row[i] = run[self.slots[i]]
        instruction.run = row
        return run_with_scratch(&instruction, team_for(instruction.work) if self.parallel else 1, self.scratch)

# Weights packed as products read them, for a Program that changes none: the copies are made once, and again after
# somebody has changed a weight.


cdef class KeptFactor:
    """The weight by which an instruction multiplies, and what is needed to copy it.

    Parameters
    ----------
    product
        The instruction's number.
    weight
        An array of two axes.
    size
        Numbers in the copy.
    kernel
        The address of the kernel that makes it.
    work
        Nanoseconds that this takes on one thread, roughly.
    """

    cdef int product
    cdef object weight
    cdef int64_t size
    cdef size_t kernel
    cdef double work

    def __init__(self, *, int product, weight, int64_t size, size_t kernel, double work):
        self.product, self.weight, self.size, self.kernel, self.work = product, weight, size, kernel, work


cdef class KeptFactors:
    """The packed second factors of a Program's products.

    Parameters
    ----------
    changes
        Counts the changes of the weights.
    factors
        A `KeptFactor` for each product.
    patience
        Copies are made after so many times their work has gone into runs without a change: what they cost those who
        change weights all the time is small beside that.
    allocate
        Makes an array of so many numbers that starts at a cache line.
    """

    cdef Changes changes
    cdef list factors
    cdef readonly list copies  # of each factor; None: there are none
    cdef object allocate
    cdef int64_t version       # of the weights, by `changes`, that the copies show; -1: of none
    cdef int64_t seen          # the version at the last run ...
    cdef double spent          # ... and what runs with it have taken, in nanoseconds on one thread, roughly
    cdef double wait           # so much, before copies are made
    cdef int maker             # the generation in which a thread is making copies; 0: nobody is

    def __init__(self, Changes changes not None, list factors, double patience, allocate):
        cdef KeptFactor factor
        self.changes, self.factors, self.allocate = changes, factors, allocate
        self.version = self.seen = -1
        for factor in factors:
            self.wait += patience * factor.work

    cdef int lend(self, Executor machine) except -1:
        """Lets a machine's products use the copies in the runs that begin now, or has them read the weights."""
        cdef list copies = self.copies if self.are_there() else None
        cdef Instruction *product
        cdef Py_ssize_t i
        if copies is machine.copies:
            return 0
        for i in range(len(self.factors)):
            product = &machine.plan.instructions[(<KeptFactor> self.factors[i]).product]
            product.n_operands = KEPT_OPERAND + 1
            product.operand[KEPT_OPERAND].data = NULL if copies is None else cnp.PyArray_BYTES(copies[i])
        machine.copies = copies  # which live for as long as it reads them
        return 0

    cdef bint are_there(self) except -1:
        """Whether there are copies of the weights as they are; they are made if that is likely to pay."""
        cdef Changes changes = self.changes
        changes.forget_parent()
        if changes.depth:  # a thread is changing weights: another one, or this one, if a signal has interrupted it
            return False
        if changes.version != self.seen:
            if self.spent < self.wait and self.maker != generation:
                self.copies = None  # weights do not stay for long enough any more
            self.seen, self.spent = changes.version, 0
        if self.version != changes.version and self.spent >= self.wait and self.maker != generation:
            self.make()
        return self.version == changes.version

    cdef int make(self) except -1:
        """Makes all copies. A change that begins meanwhile makes another version, which they do not show."""
        cdef int64_t version = self.changes.version
        cdef KeptFactor factor
        self.maker = generation
        try:
            self.version = -1
            if self.copies is None:
                self.copies = [self.allocate((<KeptFactor> each).size) for each in self.factors]
            for factor, copy in zip(self.factors, self.copies):
                call(factor.kernel, (copy, factor.weight), 1, work=factor.work)
            self.version = version
        except MemoryError:
            self.wait = INFINITY  # it goes without them
        finally:
            self.maker = 0
        return 0

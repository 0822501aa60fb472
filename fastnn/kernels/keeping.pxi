# Weights packed as products read them, for a Program that changes none: the copies are made once, and again after
# somebody has changed a weight.


cdef class KeptFactors:
    """The packed second factors of a Program's products.

    Parameters
    ----------
    changes
        Counts the changes of the weights.
    factors
        One tuple for each product: (number of the instruction, the weight as an array of two axes, numbers in its copy,
        address of the kernel that makes it, nanoseconds that this takes on one thread, roughly).
    patience
        Runs without a change before copies are made: making them takes as long as some runs do.
    allocate
        Makes an array of so many numbers that starts at a cache line.
    """

    cdef Changes changes
    cdef list factors
    cdef readonly list copies  # of each factor; empty: not made yet
    cdef object allocate
    cdef int64_t turn          # of `changes` at which they were made; -1: they are not what the weights are
    cdef int64_t seen, runs    # the turn at the last run, and the runs since it began
    cdef int64_t patience
    cdef bint under_way        # somebody is making them

    def __init__(self, Changes changes not None, list factors, int64_t patience, allocate):
        self.changes, self.factors, self.patience, self.allocate = changes, factors, patience, allocate
        self.copies, self.turn, self.seen = [], -1, -1

    cdef int lend(self, Executor machine, int64_t n_runs) except -1:
        """Lets a machine's products use the copies in the runs that begin now, or has them read the weights."""
        cdef bint there = self.are_there(n_runs)
        cdef Instruction *product
        if there != machine.has_copies:
            for factor, copy in zip(self.factors, self.copies):
                product = &machine.plan.instructions[<int> factor[0]]
                product.n_operands = KEPT_OPERAND + 1
                product.operand[KEPT_OPERAND].data = cnp.PyArray_BYTES(copy) if there else NULL
            machine.has_copies = there
        return 0

    cdef bint are_there(self, int64_t n_runs) except -1:
        """Whether the copies are what the weights are. They are made if that is likely to pay."""
        cdef Changes changes = self.changes
        if changes.depth:  # somebody changes weights right now, or a signal's handler runs in the midst of it
            return False
        if changes.turn != self.seen:
            self.seen, self.runs = changes.turn, 0
        self.runs += n_runs
        if self.turn != changes.turn and self.runs > self.patience and not self.under_way:
            self.make()
        return self.turn == changes.turn

    cdef int make(self) except -1:
        """Makes all copies. A change that begins meanwhile is another turn, for which they do not count."""
        cdef int64_t turn = self.changes.turn
        self.under_way = True
        try:
            self.turn = -1
            if not self.copies:
                self.copies = [self.allocate(size) for _, _, size, _, _ in self.factors]
            for (_, weight, _, kernel, work), copy in zip(self.factors, self.copies):
                call(kernel, (copy, weight), 1, work=work)
            self.turn = turn
        except MemoryError:
            self.patience = INT64_MAX  # it goes without them
        finally:
            self.under_way = False
        return 0

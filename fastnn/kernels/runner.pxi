# A Program, to be run from Python: by the executor, of several, that is free just now.


cdef class CompiledRunner:
    """A Program's executors: as many as runs have been under way at once, each with an arena of its own.

    Parameters
    ----------
    bound
        The number of each block that is bound anew for each run, by its name.
    refused
        Makes the exception for a status that is not KERNEL_OK and the number of steps finished before it.
    kept
        Copies of weights that its products can use; None: there are none.
    """

    cdef readonly list idle
    cdef readonly KeptFactors kept
    cdef tuple names, numbers
    cdef object refused

    def __init__(self, dict bound, refused, KeptFactors kept=None):
        self.names, self.numbers, self.refused, self.kept = tuple(bound), tuple(bound.values()), refused, kept
        self.idle = []

    def make_executor(self) -> Executor:
        """One more."""
        raise NotImplementedError

    def run(self, cnp.ndarray table not None, dict arrays not None, cnp.ndarray done=None):
        """Runs one step for each row of the table; see `fastnn.backends.Runner`.

        Without the GIL, unless it takes less time than it is worth to let go of that.
        """
        self.run_on(self.idle_executor(), table, arrays, done, None)
        return table.shape[0]

    def time(self, cnp.ndarray table not None, dict arrays not None):
        """The same, one instruction at a time; see `fastnn.backends.Runner`."""
        cdef Executor machine = self.idle_executor()
        times = np.zeros((table.shape[0], machine.plan.n))
        self.run_on(machine, table, arrays, None, times)
        return times, machine.teams

    cdef Executor idle_executor(self):
        """One that nobody uses."""
        return self.idle.pop() if self.idle else self.make_executor()

    cdef int run_on(self, Executor machine, cnp.ndarray table, dict arrays, cnp.ndarray done,
                    cnp.ndarray times) except -1:
        """All steps on that executor, which is free again afterwards."""
        cdef int64_t before
        cdef int status
        cdef Py_ssize_t i
        if done is None:
            done = np.zeros(1, np.int64)
        before = (<int64_t *> cnp.PyArray_DATA(done))[0]
        try:
            if self.kept is not None:
                self.kept.lend(machine)
            for i in range(len(self.names)):
                machine.bind(self.numbers[i], arrays[self.names[i]])
            status = machine.run(table, done, times)
            if self.kept is not None:
                self.kept.spent += table.shape[0] * machine.plan.work
        finally:
            self.idle.append(machine)
        if status != KERNEL_OK:
            raise self.refused(status, (<int64_t *> cnp.PyArray_DATA(done))[0] - before)
        return 0

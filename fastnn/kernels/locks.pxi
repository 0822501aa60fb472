# Python threads that share a network: one trains it, and whoever reads its parameters finds them between two steps.
#
# Compiled, so that no signal's exception can come between taking one of these and the `with` block, which gives it
# back. A forked child inherits none of what its parent's threads held.

cdef double PAUSE = 0.0002  # seconds between two looks of those who wait
cdef str TRAINED_ALREADY = "this network is being trained already, by another thread or from within a callback"


cdef int pause() except -1:
    """Waits for a moment, and for a signal's handler that is due: a signal may come between two sleeps."""
    PyErr_CheckSignals()
    sleep(PAUSE)
    return 0


cdef class Exclusive:
    """Held by at most one training at a time; asking for it while it is held is an error, not a wait."""

    cdef int holder            # its generation; 0: free

    cpdef expect_free(self, str refusal):
        """Raises a RuntimeError with these words if it is held."""
        if self.holder == generation:
            raise RuntimeError(refusal)

    cdef take(self, str refusal):
        self.expect_free(refusal)
        self.holder = generation

    def __enter__(self):
        self.take(TRAINED_ALREADY)

    def __exit__(self, *raised):
        self.holder = 0


cdef class OrElse:
    """`with OrElse(exclusive, refusal)`: the same lock, and other words where it is held."""

    cdef Exclusive exclusive
    cdef str refusal

    def __init__(self, Exclusive exclusive, str refusal):
        self.exclusive, self.refusal = exclusive, refusal

    def __enter__(self):
        self.exclusive.take(self.refusal)

    def __exit__(self, *raised):
        self.exclusive.holder = 0


cdef class Changes:
    """Held by a thread for as long as it changes parameters: some steps at a time, or a write of new values.

    Those who change and those who read (see `Unchanged`) take turns: each waits for the others who are there, and goes
    before those who come later. Nobody waits for his own thread: what a signal's handler does there, in mid-run or
    while the thread waits, comes before a step's commit point.
    """

    cdef int owner             # the generation of which the rest is true
    cdef int depth             # `with` blocks that the thread is in
    cdef unsigned long thread
    cdef int64_t turn          # counts changes, ...
    cdef int64_t version       # ... and this their beginnings and ends
    cdef list waiting          # threads that want to change something
    cdef list readers          # threads that read

    def __enter__(self):
        self.enter()

    def __exit__(self, *raised):
        self.leave()

    cdef int enter(self) except -1:
        cdef unsigned long thread = PyThread_get_thread_ident()
        self.forget_parent()
        if not self.is_changed_by(thread) and (self.depth or self.is_read_by_others(thread)):
            self.waiting.append(thread)
            try:
                while self.depth or self.is_read_by_others(thread):
                    pause()
            finally:
                if thread in self.waiting:  # not in a child that was forked in between
                    self.waiting.remove(thread)
        self.thread = thread
        self.depth += 1
        self.turn += 1
        self.version += 1
        return 0

    cdef void leave(self) noexcept:
        self.depth = max(0, self.depth - 1)
        self.version += 1

    cdef bint is_changed_by(self, unsigned long thread):
        return self.depth and self.thread == thread

    cdef bint is_read_by_others(self, unsigned long thread) except -1:
        for reader in self.readers:
            if reader != thread:
                return True
        return False

    cdef forget_parent(self):
        if self.owner != generation:
            self.owner, self.depth, self.waiting, self.readers = generation, 0, [], []


cdef class Unchanged:
    """`with Unchanged(changes)`: parameters as they are between two steps; nobody changes them in the meantime."""

    cdef Changes changes

    def __init__(self, Changes changes):
        self.changes = changes

    def __enter__(self):
        cdef Changes changes = self.changes
        cdef unsigned long thread = PyThread_get_thread_ident()
        changes.forget_parent()
        cdef int64_t turn = changes.turn
        if not changes.is_changed_by(thread) and thread not in changes.readers and thread not in changes.waiting:
            while changes.waiting and changes.turn == turn:
                pause()
        changes.readers.append(thread)  # from here on no further change begins
        try:
            while changes.depth and changes.thread != thread:
                pause()
        except BaseException:
            self.__exit__()
            raise

    def __exit__(self, *raised):
        cdef unsigned long thread = PyThread_get_thread_ident()
        if thread in self.changes.readers:  # not in a child that was forked in between
            self.changes.readers.remove(thread)

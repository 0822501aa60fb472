"""Runs instructions: one at a time on arrays (`call`), or a whole Program for many steps (`Executor`).

The kernels themselves live in the level modules and arrive here as addresses. Everything that touches a Python object
happens before and after a run; inside, no interpreter, no allocation and no lock.
"""

from libc.stdint cimport int64_t, uintptr_t
from libc.stdlib cimport calloc, free
from libc.string cimport memcpy, memset
from posix.unistd cimport getpid

cimport numpy as cnp
from cython.parallel cimport parallel

from fastnn.kernels.instruction cimport (
    KERNEL_INTERRUPTED, KERNEL_OK, MAX_DIMS, MAX_INTEGERS, MAX_NUMBERS, MAX_OPERANDS, TYPE_FLOAT32, TYPE_FLOAT64,
    TYPE_INT32, TYPE_INT64, TYPE_UINT8, Instruction, Kernel, Operand,
)

import warnings

import numpy as np

cnp.import_array()

cdef extern from "openmp.h":
    enum: FASTNN_HAS_OPENMP
    int omp_get_max_threads() noexcept nogil
    int omp_get_thread_num() noexcept nogil
    int omp_get_num_threads() noexcept nogil
    void team_barrier() noexcept nogil
    int shared_read(const int *word) noexcept nogil
    void shared_write(int *word, int value) noexcept nogil
    int shared_add(int *word, int value) noexcept nogil
    double seconds_now() noexcept nogil

HAS_OPENMP = bool(FASTNN_HAS_OPENMP)

cdef double THREAD_GRAIN = 20000.0    # nanoseconds of work for each thread that make a team worth its barriers
cdef double POLL_WORK = 200000.0      # look at the clock after about this many nanoseconds of work ...
cdef double POLL_SECONDS = 0.05       # ... and at pending signals this often
cdef enum: MAX_BLOCKS = 64


# ---------------------------------------------------------------------------------------------------- threads

cdef int cpu_quota = 0                # set from cgroups by set_cpu_quota; 0: none
cdef int requested_threads = 0        # by set_num_threads; 0: nobody asked
cdef int main_limit = 0               # by a threadpoolctl context that is open in the main thread; 0: none
cdef int process_default = omp_get_max_threads()
cdef int running_executors = 0
cdef int threads_were_used = 0
cdef enum: FORKED = 1, FORKED_AND_TOLD = 2
cdef int forked_child = 0             # or one of these

cdef extern from *:
    """
    static __thread int own_limit = 0;     /* by a threadpoolctl context open in this Python thread; 0: none */
    static __thread int own_unlimited = 0; /* what threadpoolctl was told before, and will set back */
    static __thread int own_default = 0;   /* OpenMP's number when set_num_threads was called in this Python thread */
    """
    int own_limit
    int own_unlimited
    int own_default


def set_cpu_quota(int cpus):
    """Tells the executor how many processors this process may use on average (cgroups); 0 for no limit."""
    global cpu_quota
    cpu_quota = cpus


def set_process_default():
    """Notes OpenMP's number for threads in which nobody has set one; to be called in a fresh one."""
    global process_default
    process_default = omp_get_max_threads()


def set_threads(int n):
    """Asks for n threads, in every Python thread, from now on; OpenMP's own setting stays as it is."""
    global requested_threads, own_default
    requested_threads = n
    if not own_limit:
        own_default = omp_get_max_threads()


def threads_to_restore() -> int:
    """The number of threads now, which threadpoolctl notes before it opens a context in this Python thread."""
    global own_unlimited
    if not own_limit:
        own_unlimited = threads()
    return own_limit or own_unlimited


def limit_threads(int n, bint in_main_thread):
    """What threadpoolctl sets on opening a context in this Python thread, and sets back on closing it.

    One that is open in the main thread holds for threads without one of their own, too.
    """
    global own_limit, main_limit
    own_limit = 0 if n == own_unlimited else n
    if in_main_thread:
        main_limit = own_limit


cpdef int threads() noexcept:
    """How many threads a run that starts now, in this Python thread, may use.

    In order: a threadpoolctl context open here; OpenMP's number in this thread, where somebody has changed it; a
    context open in the main thread; set_num_threads; OpenMP's default, within the cgroup's quota.
    """
    cdef int number
    if forked_child:
        return 1
    if own_limit:
        return own_limit
    number = omp_get_max_threads()
    if number != (own_default or process_default):
        return number
    if main_limit or requested_threads:
        return main_limit or requested_threads
    return min(number, cpu_quota) if cpu_quota else number


def after_fork_in_child():
    """OpenMP's threads do not survive a fork, and GNU's waits for them for ever: run on one thread from here on."""
    global forked_child, running_executors
    running_executors = 0
    if threads_were_used:
        forked_child = FORKED


cdef int tell_of_fork() except -1:
    """Says, once in a forked process, why it runs on one thread."""
    global forked_child
    if forked_child == FORKED:
        forked_child = FORKED_AND_TOLD
        warnings.warn(
            "fastnn runs on one thread in this process: it was forked from one that had used threads, which do not "
            "survive a fork; use the 'spawn' or 'forkserver' start method for more", RuntimeWarning, stacklevel=2)
    return 0


cdef class Exclusive:
    """Held by at most one training at a time; asking for it while it is held is an error, not a wait.

    Compiled, so that no signal's exception can come between taking it and the `with` block, which gives it back.
    """

    cdef int holder            # process id, 0: free; a forked child does not inherit it

    def __enter__(self):
        cdef int process = getpid()
        if self.holder == process:
            raise RuntimeError("this network is being trained already, by another thread or from within a callback")
        self.holder = process

    def __exit__(self, *raised):
        self.holder = 0


# ---------------------------------------------------------------------------------------------------- one call

cdef dict TYPE_CODES = {
    np.dtype(np.float32): TYPE_FLOAT32, np.dtype(np.float64): TYPE_FLOAT64, np.dtype(np.int32): TYPE_INT32,
    np.dtype(np.int64): TYPE_INT64, np.dtype(np.uint8): TYPE_UINT8,
}


cdef inline int type_code(cnp.ndarray array) except -1:
    cdef int number = array.descr.type_num
    if number == cnp.NPY_FLOAT32:
        return TYPE_FLOAT32
    if number == cnp.NPY_FLOAT64:
        return TYPE_FLOAT64
    return TYPE_CODES[array.dtype]


cdef int bind_array(Operand *operand, cnp.ndarray array) except -1:
    """Points an operand at an array: its memory, shape, strides in elements and type."""
    cdef int axis, ndim = array.ndim
    cdef Py_ssize_t size = array.itemsize
    if ndim > MAX_DIMS:
        raise ValueError(f"arrays of more than {MAX_DIMS} dimensions are not supported, got {ndim}")
    operand.type = type_code(array)
    operand.data = <char *> cnp.PyArray_DATA(array)
    operand.ndim = ndim
    for axis in range(ndim):
        operand.shape[axis] = array.shape[axis]
        if array.strides[axis] % size:
            raise ValueError("an array's strides must be multiples of its item size")
        operand.stride[axis] = array.strides[axis] // size
    return 0


cdef int fill_attributes(Instruction *instruction, tuple integers, tuple numbers) except -1:
    cdef int i
    if len(integers) > MAX_INTEGERS or len(numbers) > MAX_NUMBERS:
        raise ValueError("an instruction has room for 8 whole-number and 8 real attributes")
    for i in range(len(integers)):
        instruction.integer[i] = integers[i]
    for i in range(len(numbers)):
        instruction.number[i] = numbers[i]
    return 0


cdef int threads_for(double work, int most) noexcept nogil:
    """As many threads as the work pays for."""
    cdef double paid = work / THREAD_GRAIN
    return 1 if paid < 2.0 else (most if paid >= most else <int> paid)


cdef int team_for(double work, int asked) except -1:
    """How many threads a call gets: as many as were asked for, or, with 0, as so many nanoseconds of work pay for."""
    if forked_child:
        if work >= 2 * THREAD_GRAIN:
            tell_of_fork()
        return 1
    if asked > 0:
        return asked
    return threads_for(work, threads()) if work >= 2 * THREAD_GRAIN else 1


def call(size_t kernel, tuple operands, int n_outputs, tuple integers=(), tuple numbers=(), double work=0.0,
         int n_threads=0, cnp.ndarray scratch=None, cnp.ndarray run=None):
    """Runs one kernel on arrays and returns its status.

    `operands` are NumPy arrays, outputs first, or None. `work` (nanoseconds on one thread) decides the number of
    threads, or `n_threads` does. `scratch` is a uint8 array for all threads together; `run` a row of float64 slots.
    """
    cdef Instruction instruction
    cdef int i, count = len(operands), team
    cdef char *start
    cdef Py_ssize_t skipped
    if count > MAX_OPERANDS:
        raise ValueError(f"an instruction has room for {MAX_OPERANDS} operands, got {count}")
    instruction.kernel = <Kernel> <void *> kernel
    instruction.n_operands = count
    instruction.n_outputs = n_outputs
    for i in range(count):
        if operands[i] is None:
            instruction.operand[i].data = NULL
            instruction.operand[i].ndim = 0
        else:
            bind_array(&instruction.operand[i], operands[i])
    fill_attributes(&instruction, integers, numbers)
    team = team_for(work, n_threads)
    instruction.run = NULL
    if run is not None:
        instruction.run = <const double *> cnp.PyArray_DATA(run)
    instruction.scratch = NULL
    instruction.scratch_size = 0
    if scratch is not None:
        start = cnp.PyArray_BYTES(scratch)
        skipped = (64 - <uintptr_t> start % 64) % 64
        instruction.scratch = start + skipped
        instruction.scratch_size = (scratch.shape[0] - skipped) // team // 64 * 64
    instruction.work = work
    return run_instruction(&instruction, team)


cdef int run_instruction(Instruction *instruction, int team):
    """Runs one instruction with so many threads and returns its status."""
    cdef int status = KERNEL_OK
    cdef int *shared = &status
    if team == 1:
        if instruction.work < THREAD_GRAIN:
            return instruction.kernel(instruction, 0, 1)
        with nogil:
            status = instruction.kernel(instruction, 0, 1)
        return status
    mark_threads_used()
    with nogil:
        call_team(instruction, team, shared)
    return status


cdef void mark_threads_used() noexcept:
    global threads_were_used
    threads_were_used = 1


cdef void call_team(Instruction *instruction, int team, int *status) noexcept nogil:
    with nogil, parallel(num_threads=team):
        call_member(instruction, status)


cdef void call_member(Instruction *instruction, int *status) noexcept nogil:
    cdef int found = instruction.kernel(instruction, omp_get_thread_num(), omp_get_num_threads())
    if found != KERNEL_OK:
        shared_write(status, found)


# ---------------------------------------------------------------------------------------------------- a Program

cdef struct Place:
    # Where an operand's dimension or address comes from, for those that a run binds anew.
    int instruction, operand, axis, extent
    int contiguous             # 0: the caller's own array, whose strides are its own


cdef struct Plan:
    Instruction *instructions
    int *team                  # threads of each instruction, at the extents bound now
    int n, commit, largest_team
    Place *extents             # dimensions that follow an extent
    int n_places, n_extents
    int64_t *bound             # the extents' present values
    double *share_of_maximum   # of each instruction's work
    double *maximum            # the extents' maxima
    double *row                # this step's row of the run table
    int n_slots
    int member_limit           # threads this run may use
    int status[2]              # by parity of the barrier: see `meet`
    double last_poll


cdef void set_contiguous(Operand *operand) noexcept nogil:
    """Strides of an array in C order."""
    cdef int64_t stride = 1
    cdef int axis
    for axis in range(operand.ndim - 1, -1, -1):
        operand.stride[axis] = stride
        stride *= operand.shape[axis]


cdef void bind_extents(Plan *plan, const double *values) noexcept nogil:
    """Writes the extents into every shape that follows one, and chooses the threads of each instruction."""
    cdef int i
    cdef Place *place
    cdef Operand *operand
    for i in range(plan.n_extents):
        plan.bound[i] = <int64_t> values[i]
    for i in range(plan.n):
        plan.share_of_maximum[i] = 1.0
    for i in range(plan.n_places):
        place = &plan.extents[i]
        operand = &plan.instructions[place.instruction].operand[place.operand]
        operand.shape[place.axis] = plan.bound[place.extent]
        if place.contiguous:
            set_contiguous(operand)
        plan.share_of_maximum[place.instruction] = min(
            plan.share_of_maximum[place.instruction], values[place.extent] / plan.maximum[place.extent])
    plan.largest_team = 1
    for i in range(plan.n):
        plan.team[i] = threads_for(plan.instructions[i].work * plan.share_of_maximum[i],
                                   min(plan.member_limit, plan.instructions[i].max_threads))
        plan.largest_team = max(plan.largest_team, plan.team[i])


cdef int same_extents(const Plan *plan, const double *values) noexcept nogil:
    cdef int i
    for i in range(plan.n_extents):
        if plan.bound[i] != <int64_t> values[i]:
            return 0
    return 1


cdef int signal_pending() noexcept nogil:
    """Runs Python's signal handlers (a no-op outside the main thread); true if one raised, e.g. KeyboardInterrupt."""
    cdef int raised
    with gil:
        raised = PyErr_CheckSignals_noexcept()
    return raised


cdef extern from *:
    """
    static int PyErr_CheckSignals_noexcept(void) { return PyErr_CheckSignals() < 0; }
    """
    int PyErr_CheckSignals_noexcept() noexcept


cdef inline int poll(Plan *plan, double *work, double more) noexcept nogil:
    """Every now and then, looks for a signal; the clock itself is only read once enough work has passed."""
    cdef double now
    work[0] += more + 20.0
    if work[0] < POLL_WORK:
        return KERNEL_OK
    work[0] = 0.0
    now = seconds_now()
    if now - plan.last_poll < POLL_SECONDS:
        return KERNEL_OK
    plan.last_poll = now
    return KERNEL_INTERRUPTED if signal_pending() else KERNEL_OK


cdef int run_alone(Plan *plan, double *table, int64_t n_steps, int64_t *done) noexcept nogil:
    """All steps on the calling thread."""
    cdef int64_t step
    cdef int i, status
    cdef double work = 0.0
    cdef double *row
    cdef Instruction *instruction
    for step in range(n_steps):
        row = table + step * plan.n_slots
        if not same_extents(plan, row):
            bind_extents(plan, row)
        memcpy(plan.row, row, plan.n_slots * sizeof(double))
        for i in range(plan.n):
            instruction = &plan.instructions[i]
            if i <= plan.commit:
                status = poll(plan, &work, instruction.work)
                if status != KERNEL_OK:
                    return status
            status = instruction.kernel(instruction, 0, 1)
            if status != KERNEL_OK:
                return status
        memcpy(row, plan.row, plan.n_slots * sizeof(double))
        done[0] += 1
    return KERNEL_OK


cdef inline int meet(Plan *plan, int *parity) noexcept nogil:
    """Waits for all threads and tells each the same status.

    A thread that fails writes into the word of the present parity; after the barrier everybody reads that word, while
    later failures go to the other one: no thread can leave on news that another has missed.
    """
    cdef int now = parity[0]
    team_barrier()
    parity[0] = 1 - now
    return shared_read(&plan.status[now])


cdef void run_member(Plan *plan, double *table, int64_t n_steps, int64_t *done) noexcept nogil:
    """One thread's part of all steps."""
    cdef int thread = omp_get_thread_num(), parity = 0, status, i
    cdef int64_t step
    cdef double work = 0.0
    cdef double *row
    cdef Instruction *instruction
    for step in range(n_steps):
        row = table + step * plan.n_slots
        if thread == 0:
            if not same_extents(plan, row):
                bind_extents(plan, row)
            memcpy(plan.row, row, plan.n_slots * sizeof(double))
        if meet(plan, &parity) != KERNEL_OK:
            return
        for i in range(plan.n):
            instruction = &plan.instructions[i]
            if instruction.barrier and meet(plan, &parity) != KERNEL_OK:
                return
            if thread == 0 and i < plan.commit and shared_read(&plan.status[parity]) == KERNEL_OK:
                status = poll(plan, &work, instruction.work)
                if status != KERNEL_OK:
                    shared_write(&plan.status[parity], status)
            if thread < plan.team[i]:
                status = instruction.kernel(instruction, thread, plan.team[i])
                if status != KERNEL_OK:
                    shared_write(&plan.status[parity], status)
        if meet(plan, &parity) != KERNEL_OK:
            return
        if thread == 0:
            memcpy(row, plan.row, plan.n_slots * sizeof(double))
            done[0] += 1


cdef void run_team(Plan *plan, double *table, int64_t n_steps, int64_t *done, int team) noexcept nogil:
    with nogil, parallel(num_threads=team):
        run_member(plan, table, n_steps, done)


cdef class Executor:
    """A Program bound to memory: an arena of its own, and pointers into the blocks that it shares with others.

    Parameters
    ----------
    instructions
        One tuple each: (kernel address, operands, number of outputs, whole-number attributes, real attributes, work,
        max_threads, barrier, scratch bytes a thread). An operand is None or (block, byte offset, shape, type code);
        a dimension is a number or (extent,), extents being numbered from 0.
    blocks
        NumPy arrays that hold the blocks; None for those bound by `bind`.
    maxima
        The largest value of each extent. The run table's first columns are the extents' values.
    n_slots
        Columns of the run table.
    commit
        Index of the first instruction that changes parameters or state; past the last if none does.
    run_block
        The number of the block that stands for the run row.
    """

    cdef Plan plan
    cdef list blocks, bound, scratch_sizes, bound_places
    cdef object scratch

    def __cinit__(self):
        memset(&self.plan, 0, sizeof(Plan))

    def __init__(self, list instructions, list blocks, tuple maxima, int n_slots, int commit, int run_block):
        cdef int i, j, axis, n = len(instructions)
        cdef Instruction *instruction
        cdef Operand *operand
        self.blocks = list(blocks)
        self.bound = [number for number, block in enumerate(blocks) if block is None and number != run_block]
        self.bound_places = [[] for _ in blocks]
        self.scratch_sizes = []
        plan = &self.plan
        plan.n = n
        plan.commit = commit
        plan.n_slots = n_slots
        plan.n_extents = len(maxima)
        plan.instructions = <Instruction *> calloc(max(n, 1), sizeof(Instruction))
        plan.team = <int *> calloc(max(n, 1), sizeof(int))
        plan.share_of_maximum = <double *> calloc(max(n, 1), sizeof(double))
        plan.bound = <int64_t *> calloc(max(plan.n_extents, 1), sizeof(int64_t))
        plan.maximum = <double *> calloc(max(plan.n_extents, 1), sizeof(double))
        plan.row = <double *> calloc(max(n_slots, 1), sizeof(double))
        if not (plan.instructions and plan.team and plan.share_of_maximum and plan.bound and plan.maximum and plan.row):
            raise MemoryError("no memory for the instructions of a Program")
        for i in range(plan.n_extents):
            plan.maximum[i] = maxima[i]
            plan.bound[i] = -1
        places = []
        for i, (kernel, operands, n_outputs, integers, numbers, work, max_threads, barrier, scratch) in enumerate(
                instructions):
            if len(operands) > MAX_OPERANDS:
                raise ValueError(f"an instruction has room for {MAX_OPERANDS} operands, got {len(operands)}")
            instruction = &plan.instructions[i]
            instruction.kernel = <Kernel> <void *> <size_t> kernel
            instruction.n_operands = len(operands)
            instruction.n_outputs = n_outputs
            instruction.work = work
            instruction.max_threads = max_threads
            instruction.barrier = barrier
            instruction.run = plan.row
            self.scratch_sizes.append(scratch)
            fill_attributes(instruction, tuple(integers), tuple(numbers))
            for j, described in enumerate(operands):
                if described is None:
                    continue
                block, offset, shape, code = described
                operand = &instruction.operand[j]
                if len(shape) > MAX_DIMS:
                    raise ValueError(f"a tensor has at most {MAX_DIMS} dimensions, got {len(shape)}")
                operand.ndim = len(shape)
                operand.type = code
                for axis, size in enumerate(shape):
                    if isinstance(size, tuple):
                        places.append((i, j, axis, size[0], block == run_block or self.blocks[block] is not None))
                        size = maxima[size[0]]
                    operand.shape[axis] = size
                set_contiguous(operand)
                if block == run_block:
                    operand.data = <char *> plan.row + <Py_ssize_t> offset
                elif self.blocks[block] is None:
                    self.bound_places[block].append((i, j))
                else:
                    operand.data = cnp.PyArray_BYTES(self.blocks[block]) + <Py_ssize_t> offset
        plan.extents = <Place *> calloc(max(len(places), 1), sizeof(Place))
        if not plan.extents:
            raise MemoryError("no memory for the instructions of a Program")
        plan.n_places = len(places)
        for i, place in enumerate(places):
            plan.extents[i] = Place(place[0], place[1], place[2], place[3], place[4])

    def __dealloc__(self):
        free(self.plan.instructions)
        free(self.plan.team)
        free(self.plan.share_of_maximum)
        free(self.plan.bound)
        free(self.plan.maximum)
        free(self.plan.row)
        free(self.plan.extents)

    @property
    def limit(self) -> int:
        """Threads that the last run might use: runs at the same time divide them."""
        return self.plan.member_limit

    def bind(self, int block, cnp.ndarray array):
        """Points every operand of a block at an array, taking over its shape, strides and type.

        The operand's leading dimension still follows its extent where it has one.
        """
        self.blocks[block] = array
        for i, j in self.bound_places[block]:
            bind_array(&self.plan.instructions[i].operand[j], array)
        if self.plan.n_extents:
            self.plan.bound[0] = -1

    def run(self, cnp.ndarray table, cnp.ndarray done):
        """Runs one step for each row of the table and returns KERNEL_OK or the reason why it stopped.

        `done` holds one int64, to which each finished step adds 1 at once: it stays true whatever happens. The arrays
        that were bound are let go of afterwards. What a signal handler raised is raised from here.
        """
        cdef int64_t n_steps = table.shape[0]
        cdef double *rows = <double *> cnp.PyArray_DATA(table)
        cdef int64_t *counter = <int64_t *> cnp.PyArray_DATA(done)
        cdef int status = KERNEL_OK
        cdef Plan *plan = &self.plan
        if table.descr.type_num != cnp.NPY_FLOAT64 or table.ndim != 2 or table.shape[1] != plan.n_slots:
            raise ValueError(f"the run table must be float64 with {plan.n_slots} columns")
        if not cnp.PyArray_IS_C_CONTIGUOUS(table):
            raise ValueError("the run table must be contiguous")
        if done.descr.type_num != cnp.NPY_INT64 or done.size != 1:
            raise ValueError("the counter of steps must be one int64")
        if n_steps == 0:
            return KERNEL_OK
        tell_of_fork()
        plan.member_limit = max(1, threads() // shared_add(&running_executors, 1))
        try:
            plan.status[0] = plan.status[1] = KERNEL_OK
            plan.last_poll = seconds_now()
            self.make_scratch(plan.member_limit)
            bind_extents(plan, rows)
            if plan.largest_team == 1:
                with nogil:
                    status = run_alone(plan, rows, n_steps, counter)
            else:
                mark_threads_used()
                with nogil:
                    run_team(plan, rows, n_steps, counter, plan.largest_team)
                status = plan.status[0] or plan.status[1]
            # The handler raised inside `poll` and left its exception set; nothing may run before it is fetched.
            raised = fetch_raised() if status == KERNEL_INTERRUPTED else None
        finally:
            shared_add(&running_executors, -1)
            for block in self.bound:
                self.blocks[block] = None
        if raised is not None:
            raise raised
        return status

    cdef make_scratch(self, int n_threads):
        """Gives each thread of each instruction its scratch memory: all instructions use the same, one at a time."""
        cdef int i
        cdef int64_t most = max(self.scratch_sizes, default=0)
        if most == 0:
            return
        most = (most + 63) // 64 * 64
        if self.scratch is None or self.scratch.size < most * n_threads + 64:
            self.scratch = np.empty(most * n_threads + 64, np.uint8)
        start = cnp.PyArray_BYTES(self.scratch)
        start += (64 - <uintptr_t> start % 64) % 64
        for i in range(self.plan.n):
            self.plan.instructions[i].scratch = start if self.scratch_sizes[i] else NULL
            self.plan.instructions[i].scratch_size = most

cdef extern from *:
    """
    /* Takes the exception that a signal handler left behind and returns it as an object. */
    static PyObject *fetch_raised(void) {
        PyObject *type, *value, *trace;
        PyErr_Fetch(&type, &value, &trace);
        PyErr_NormalizeException(&type, &value, &trace);
        if (trace) PyException_SetTraceback(value, trace);
        Py_XDECREF(type);
        Py_XDECREF(trace);
        return value;
    }
    """
    object fetch_raised()

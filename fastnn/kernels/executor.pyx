"""Runs instructions: one at a time on arrays (`call`), or a whole Program for many steps (`Executor`).

The kernels themselves live in the level modules and arrive here as addresses. Everything that touches a Python object
happens before and after a run; inside, no interpreter, and in a step no allocation and no lock.
"""

from libc.math cimport INFINITY
from libc.stdint cimport int64_t, uintptr_t
from libc.stdlib cimport calloc, free
from libc.string cimport memcpy, memset
from cpython.pythread cimport PyThread_get_thread_ident

cimport numpy as cnp
from cpython.exc cimport PyErr_CheckSignals
from cython cimport floating

from fastnn.kernels.instruction cimport (
    KEPT_OPERAND, KERNEL_INTERRUPTED, KERNEL_OK, MAX_DIMS, MAX_INTEGERS, MAX_NUMBERS, MAX_OPERANDS, TYPE_FLOAT32,
    TYPE_FLOAT64, TYPE_INT32, TYPE_INT64, TYPE_UINT8, Coming, Instruction, Kernel, Operand, Prepare, PrepareWhole,
)

import os
import warnings
from time import sleep

import numpy as np

cnp.import_array()

cdef extern from "openmp.h":
    enum: FASTNN_HAS_OPENMP
    int omp_get_max_threads() noexcept nogil
    int omp_get_thread_limit() noexcept nogil
    int omp_get_max_active_levels() noexcept nogil
    void shared_write(int *word, int value) noexcept nogil
    int shared_add(int *word, int value) noexcept nogil
    double seconds_now() noexcept nogil

cdef extern from "<math.h>":
    int ilogb(double x) noexcept nogil
    double ldexp(double x, int exponent) noexcept nogil

HAS_OPENMP = bool(FASTNN_HAS_OPENMP)

include "threads.pxi"
include "team.pxi"
include "locks.pxi"

cdef dict TYPE_CODES = {
    np.dtype(np.float32): TYPE_FLOAT32, np.dtype(np.float64): TYPE_FLOAT64, np.dtype(np.int32): TYPE_INT32,
    np.dtype(np.int64): TYPE_INT64, np.dtype(np.uint8): TYPE_UINT8,
}


cdef inline char *aligned(char *memory, size_t boundary) noexcept:
    """The first address from there on that is a multiple of the boundary."""
    return memory + (boundary - <uintptr_t> memory % boundary) % boundary


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
    cdef Py_ssize_t size = cnp.PyArray_ITEMSIZE(array)
    if ndim > MAX_DIMS:
        raise ValueError(f"arrays of more than {MAX_DIMS} dimensions are not supported, got {ndim}")
    operand.type = type_code(array)
    operand.padded = False
    operand.data = <char *> cnp.PyArray_DATA(array)
    operand.ndim = ndim
    for axis in range(ndim):
        operand.shape[axis] = array.shape[axis]
    if cnp.PyArray_IS_C_CONTIGUOUS(array):
        set_contiguous(operand)
        return 0
    for axis in range(ndim):
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


cdef double GIL_GRAIN = 20000.0       # nanoseconds of work for which the interpreter's lock is let go of


def call(size_t kernel, tuple operands, int n_outputs, tuple integers=(), tuple numbers=(), double work=0.0,
         int n_threads=0, cnp.ndarray scratch=None, cnp.ndarray run=None, bint closes=False):
    """Runs one kernel on arrays and returns its status.

    `operands` are NumPy arrays, outputs first, or None. `work` (nanoseconds on one thread) decides the number of
    threads, or `n_threads` does. `scratch` is a uint8 array for all threads together; `run` a row of float64 slots;
    `closes` says whether the kernel is called again when all shares are done.
    """
    cdef Instruction instruction
    cdef int i, count = len(operands), team
    cdef char *end
    if count > MAX_OPERANDS:
        raise ValueError(f"an instruction has room for {MAX_OPERANDS} operands, got {count}")
    instruction.kernel = <Kernel> <void *> kernel
    instruction.n_operands = count
    instruction.n_outputs = n_outputs
    for i in range(count):
        if operands[i] is None:
            instruction.operand[i].data = NULL
            instruction.operand[i].ndim = 0
            instruction.operand[i].padded = False
        else:
            bind_array(&instruction.operand[i], operands[i])
    fill_attributes(&instruction, integers, numbers)
    team = n_threads or team_for(work)
    if not 1 <= team <= MOST_SHARES:
        raise ValueError(f"the number of threads must be in 1 ... {MOST_SHARES}, got {team}")
    instruction.run = NULL
    instruction.coming = NULL
    if run is not None:
        instruction.run = <const double *> cnp.PyArray_DATA(run)
    instruction.scratch = NULL
    instruction.scratch_size = 0
    if scratch is not None:
        instruction.scratch = aligned(cnp.PyArray_BYTES(scratch), 64)
        end = cnp.PyArray_BYTES(scratch) + scratch.shape[0]
        instruction.scratch_size = (end - instruction.scratch) // team // 64 * 64
    instruction.work = work
    instruction.closes = closes
    return run_instruction(&instruction, team, n_threads > 1)


cdef int run_instruction(Instruction *instruction, int team, bint in_any_case=False):
    """Runs one instruction and returns its status: on so many threads, if they come soon enough or in any case."""
    cdef int status
    cdef double saved = instruction.work - instruction.work / team
    cdef bint asleep
    cdef Crew *crew = NULL
    if team > 1:
        crew = hire(team, instruction.work, AT_ONCE if in_any_case else saved, &asleep)
    if crew != NULL:
        with nogil:
            status = run_shared(crew, instruction, team)
            give_crew_back(crew)
        return status
    if instruction.work < GIL_GRAIN:
        return instruction.kernel(instruction, 0, 1)
    with nogil:
        status = instruction.kernel(instruction, 0, 1)
    return status


include "steps.pxi"
include "pace.pxi"


cdef class Executor:
    """A Program bound to memory: an arena of its own, and pointers into the blocks that it shares with others.

    Parameters
    ----------
    instructions
        One tuple each: (kernel address, its Prepare's address or 0, operands, number of outputs, whole-number
        attributes, real attributes, (work at the extents' maxima, work where all are 1), max_threads, barrier, closes,
        scratch bytes a thread). An operand is None or (block, byte offset, shape, type code, padded); a dimension is a
        number or (extent,), extents being numbered from 0.
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
    prepare_whole
        Address of what may know a way to run all of them in one go; 0: there is none.
    """

    cdef Plan plan
    cdef list blocks, bound, scratch_sizes, bound_places
    cdef int64_t most_scratch  # of an instruction, for one thread
    cdef object scratch
    cdef list copies           # packed weights, which products read; None: there are none. See keeping.pxi
    cdef readonly int limit    # threads that the last run might use: runs at the same time divide them

    def __cinit__(self):
        memset(&self.plan, 0, sizeof(Plan))

    def __init__(self, list instructions, list blocks, tuple maxima, int n_slots, int commit, int run_block,
                 size_t prepare_whole=0):
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
        plan.prepare_all = <PrepareWhole> <void *> prepare_whole
        plan.instructions = <Instruction *> calloc(max(n, 1), sizeof(Instruction))
        plan.general = <Kernel *> calloc(max(n, 1), sizeof(Kernel))
        plan.prepare = <Prepare *> calloc(max(n, 1), sizeof(Prepare))
        plan.prepared = <int *> calloc(max(n, 1), sizeof(int))
        plan.team = <int *> calloc(max(n, 1), sizeof(int))
        plan.batch_end = <int *> calloc(max(n, 1), sizeof(int))
        plan.batch_team = <int *> calloc(max(n, 1), sizeof(int))
        plan.costs = <Cost *> calloc(max(n, 1), sizeof(Cost))
        plan.bound = <int64_t *> calloc(max(plan.n_extents, 1), sizeof(int64_t))
        plan.maximum = <double *> calloc(max(plan.n_extents, 1), sizeof(double))
        plan.row = <double *> calloc(max(n_slots, 1), sizeof(double))
        if not (plan.instructions and plan.general and plan.prepare and plan.prepared and plan.team
                and plan.batch_end and plan.batch_team and plan.costs and plan.bound and plan.maximum and plan.row):
            raise MemoryError("no memory for the instructions of a Program")
        for i in range(plan.n_extents):
            plan.maximum[i] = maxima[i]
            plan.bound[i] = -1
        places = []
        for i, (kernel, prepare, operands, n_outputs, integers, numbers, work, max_threads, barrier, closes,
                scratch) in enumerate(instructions):
            if len(operands) > MAX_OPERANDS:
                raise ValueError(f"an instruction has room for {MAX_OPERANDS} operands, got {len(operands)}")
            instruction = &plan.instructions[i]
            plan.general[i] = <Kernel> <void *> <size_t> kernel
            plan.prepare[i] = <Prepare> <void *> <size_t> prepare
            instruction.n_operands = len(operands)
            instruction.n_outputs = n_outputs
            plan.costs[i].most, plan.costs[i].least = work
            instruction.max_threads = max_threads
            instruction.barrier = barrier
            instruction.closes = closes
            instruction.run = plan.row
            instruction.coming = &plan.coming
            self.scratch_sizes.append(scratch)
            fill_attributes(instruction, tuple(integers), tuple(numbers))
            for j, described in enumerate(operands):
                if described is None:
                    continue
                block, offset, shape, code, padded = described
                operand = &instruction.operand[j]
                if len(shape) > MAX_DIMS:
                    raise ValueError(f"a tensor has at most {MAX_DIMS} dimensions, got {len(shape)}")
                operand.ndim = len(shape)
                operand.type, operand.padded = code, padded
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
        self.most_scratch = (max(self.scratch_sizes, default=0) + 63) // 64 * 64
        plan.extents = <Place *> calloc(max(len(places), 1), sizeof(Place))
        if not plan.extents:
            raise MemoryError("no memory for the instructions of a Program")
        plan.n_places = len(places)
        for i, place in enumerate(places):
            plan.extents[i] = Place(place[0], place[1], place[2], place[3], place[4])

    def __dealloc__(self):
        free(self.plan.instructions)
        free(self.plan.general)
        free(self.plan.prepare)
        free(self.plan.prepared)
        free(self.plan.team)
        free(self.plan.batch_end)
        free(self.plan.batch_team)
        free(self.plan.costs)
        free(self.plan.bound)
        free(self.plan.maximum)
        free(self.plan.row)
        free(self.plan.extents)

    def bind(self, int block, cnp.ndarray array):
        """Points every operand of a block at an array, taking over its shape, strides and type.

        The operand's leading dimension still follows its extent where it has one.
        """
        self.blocks[block] = array
        for i, j in self.bound_places[block]:
            bind_array(&self.plan.instructions[i].operand[j], array)
            self.plan.prepared[i] = 0

    @property
    def teams(self) -> list:
        """Threads of each instruction in the last run."""
        return [self.plan.team[i] for i in range(self.plan.n)]

    @property
    def in_one_go(self) -> bool:
        """Whether `run`, on one thread, takes a step like the last one in one go, not one instruction after another."""
        return self.plan.whole.kernel != NULL

    @property
    def pace(self) -> tuple:
        """Of steps like the last one: measured over estimated time, alone and with helpers; 0 where it is not known."""
        cdef const Pace *pace = pace_of(&self.plan)
        return 1e9 * pace.seconds[0], 1e9 * pace.seconds[1]

    def run(self, cnp.ndarray table, cnp.ndarray done, cnp.ndarray times=None):
        """Runs one step for each row of the table and returns KERNEL_OK or the reason why it stopped.

        `done` holds one int64, to which each finished step adds 1 at once: it stays true whatever happens. The arrays
        that were bound are let go of afterwards. What a signal handler raised is raised from here. `times`, if given,
        holds a float64 for each step and instruction: the seconds that it took, none beginning before the last ended.
        """
        cdef int64_t n_steps = table.shape[0]
        cdef double *rows = <double *> cnp.PyArray_DATA(table)
        cdef int64_t *counter = <int64_t *> cnp.PyArray_DATA(done)
        cdef double *seconds = NULL
        cdef int began_in, status = KERNEL_OK
        cdef Plan *plan = &self.plan
        if table.descr.type_num != cnp.NPY_FLOAT64 or table.ndim != 2 or table.shape[1] != plan.n_slots:
            raise ValueError(f"the run table must be float64 with {plan.n_slots} columns")
        if not cnp.PyArray_IS_C_CONTIGUOUS(table):
            raise ValueError("the run table must be contiguous")
        if done.descr.type_num != cnp.NPY_INT64 or done.size != 1:
            raise ValueError("the counter of steps must be one int64")
        if times is not None:
            if times.descr.type_num != cnp.NPY_FLOAT64 or not cnp.PyArray_IS_C_CONTIGUOUS(times):
                raise ValueError("times must be float64 and contiguous")
            if times.size != n_steps * plan.n:
                raise ValueError(f"times must have {n_steps} x {plan.n} elements, got {times.size}")
            seconds = <double *> cnp.PyArray_DATA(times)
        if n_steps == 0:
            return KERNEL_OK
        tell_of_fork()
        began_in = generation
        self.limit = plan.member_limit = max(1, threads() // shared_add(&running_executors, 1))
        try:
            plan.last_poll = seconds_now()
            self.make_scratch(plan.member_limit)
            bind_extents(plan, rows)
            if seconds == NULL and plan.largest_team == 1 and n_steps * plan.work < GIL_GRAIN:
                status = run_alone(plan, rows, n_steps, counter)
            else:
                with nogil:
                    if seconds != NULL:
                        status = run_timed(plan, rows, n_steps, counter, seconds)
                    elif plan.largest_team == 1:
                        status = run_alone(plan, rows, n_steps, counter)
                    else:
                        status = run_at_best(plan, rows, n_steps, counter)
            # The handler raised inside `poll` and left its exception set; nothing may run before it is fetched.
            raised = fetch_raised() if status == KERNEL_INTERRUPTED else None
        finally:
            if generation == began_in:  # else a signal's handler has forked: the child counts from 0
                shared_add(&running_executors, -1)
            for block in self.bound:
                self.blocks[block] = None
        if raised is not None:
            raise raised
        return status

    cdef make_scratch(self, int n_threads):
        """Gives each thread of each instruction its scratch memory: all instructions use the same, one at a time."""
        cdef int i
        cdef int64_t most = self.most_scratch
        if most == 0:
            return
        if self.scratch is None or self.scratch.size < most * n_threads + 64:
            self.scratch = np.empty(most * n_threads + 64, np.uint8)
        start = aligned(cnp.PyArray_BYTES(self.scratch), 64)
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


include "keeping.pxi"
include "runner.pxi"
include "repeated.pxi"
include "order.pxi"

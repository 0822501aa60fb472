# A Program bound to memory, and the loops that run its steps: on one thread, or on a team.

cdef double POLL_WORK = 200000.0      # look at the clock after about this many nanoseconds of work ...
cdef double DISPATCH_WORK = 20.0      # nanoseconds to call a kernel
cdef double POLL_SECONDS = 0.05       # ... and at pending signals this often

cdef struct Place:
    # Where an operand's dimension or address comes from, for those that a run binds anew.
    int instruction, operand, axis, extent
    int contiguous             # 0: the caller's own array, whose strides are its own


cdef struct Cost:
    # An instruction's work, in nanoseconds on one thread, with every extent at its maximum and with every extent 1.
    double most, least


cdef struct Plan:
    Instruction *instructions
    Kernel *general            # each instruction's kernel for any operands ...
    Prepare *prepare           # ... and what may know a shorter way for those bound now, or NULL
    char *stale                # whether operands or threads have changed since that was asked
    int *team                  # threads of each instruction, at the extents bound now
    int n, commit, largest_team
    Place *extents             # dimensions that follow an extent
    int n_places, n_extents
    int64_t *bound             # the extents' present values
    Cost *costs                # of each instruction
    double *maximum            # the extents' maxima
    double *row                # this step's row of the run table
    int n_slots
    int member_limit           # threads this run uses at most
    Barrier *barrier           # where they meet
    bint crowded               # more threads than processors
    int status[2]              # by parity of the barrier: see `meet`
    double last_poll
    double work                # of a whole step, at the extents bound now
    bint short_steps           # it is so little that one look for signals a step is enough


cdef void set_contiguous(Operand *operand) noexcept nogil:
    """Strides of an array in C order."""
    cdef int64_t stride = 1
    cdef int axis
    for axis in range(operand.ndim - 1, -1, -1):
        operand.stride[axis] = stride
        stride *= operand.shape[axis]


cdef void bind_extents(Plan *plan, const double *values) noexcept nogil:
    """Writes the extents into every shape that follows one, and chooses each instruction's threads and kernel.

    An instruction's work is taken to grow evenly from extents of 1 to their maxima.
    """
    cdef int i
    cdef Place *place
    cdef Operand *operand
    cdef const Cost *cost
    cdef double grown
    if not same_extents(plan, values):
        memset(plan.stale, True, plan.n)
    for i in range(plan.n_extents):
        plan.bound[i] = <int64_t> values[i]
    for i in range(plan.n):
        plan.instructions[i].work = plan.costs[i].most
    for i in range(plan.n_places):
        place = &plan.extents[i]
        operand = &plan.instructions[place.instruction].operand[place.operand]
        operand.shape[place.axis] = plan.bound[place.extent]
        if place.contiguous:
            set_contiguous(operand)
        cost = &plan.costs[place.instruction]
        grown = (values[place.extent] - 1.0) / max(plan.maximum[place.extent] - 1.0, 1.0)
        plan.instructions[place.instruction].work = min(
            plan.instructions[place.instruction].work, cost.least + (cost.most - cost.least) * grown)
    choose_teams(plan)


cdef void choose_teams(Plan *plan) noexcept nogil:
    """The threads of each instruction, and its kernel for so many."""
    cdef int i, team
    plan.largest_team = 1
    plan.work = 0.0
    for i in range(plan.n):
        team = threads_for(plan.instructions[i].work, min(plan.member_limit, plan.instructions[i].max_threads))
        plan.stale[i] = plan.stale[i] or team != plan.team[i]
        plan.team[i] = team
        plan.largest_team = max(plan.largest_team, plan.team[i])
        plan.work += plan.instructions[i].work + DISPATCH_WORK
        if plan.stale[i]:
            prepare_instruction(plan, i)
    plan.short_steps = plan.work < POLL_WORK


cdef inline void prepare_instruction(Plan *plan, int i) noexcept nogil:
    """Chooses the shortest way to run an instruction on the operands and threads that it has now."""
    cdef Kernel short_way = NULL
    if plan.prepare[i] != NULL:
        short_way = plan.prepare[i](&plan.instructions[i], plan.team[i])
    plan.instructions[i].kernel = plan.general[i] if short_way == NULL else short_way
    plan.stale[i] = False


cdef bint team_pays(const Plan *plan, int64_t n_steps) noexcept:
    """Whether to open a region for so many steps with the extents bound now."""
    cdef double work = 0.0, saved = -2 * MEETING, each
    cdef int i
    for i in range(plan.n):
        each = plan.instructions[i].work
        work += each
        saved += each - each / plan.team[i] - MEETING * plan.instructions[i].barrier
    return saved > 0.0 and region_pays(plan.largest_team, n_steps * work, n_steps * saved)


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
    work[0] += more + DISPATCH_WORK
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
        if plan.short_steps:
            status = poll(plan, &work, plan.work)
            if status != KERNEL_OK:
                return status
        for i in range(plan.n):
            instruction = &plan.instructions[i]
            if not plan.short_steps and i <= plan.commit:
                status = poll(plan, &work, instruction.work)
                if status != KERNEL_OK:
                    return status
            status = instruction.kernel(instruction, 0, 1)
            if status != KERNEL_OK:
                return status
        memcpy(row, plan.row, plan.n_slots * sizeof(double))
        done[0] += 1
    return KERNEL_OK


cdef int run_timed(Plan *plan, double *table, int64_t n_steps, int64_t *done, double *seconds) noexcept nogil:
    """All steps, one instruction after the other, each on its own team; how long each took goes to a row a step."""
    cdef int64_t step
    cdef int i, status = KERNEL_OK
    cdef int *shared = &status
    cdef double *row
    cdef double began, clock = clock_cost()
    for step in range(n_steps):
        row = table + step * plan.n_slots
        if not same_extents(plan, row):
            bind_extents(plan, row)
        memcpy(plan.row, row, plan.n_slots * sizeof(double))
        for i in range(plan.n):
            began = seconds_now()
            if plan.team[i] == 1:
                status = plan.instructions[i].kernel(&plan.instructions[i], 0, 1)
            else:
                call_team(&plan.instructions[i], plan.team[i], shared)
            seconds[step * plan.n + i] = max(seconds_now() - began - clock, 1e-9)
            if status != KERNEL_OK:
                return status
        memcpy(row, plan.row, plan.n_slots * sizeof(double))
        done[0] += 1
    return KERNEL_OK


cdef double clock_cost() noexcept nogil:
    """Seconds between two looks at the clock."""
    cdef double best = 1.0, began
    cdef int i
    for i in range(100):
        began = seconds_now()
        best = min(best, seconds_now() - began)
    return best


cdef struct Member:
    # A thread of a team.
    int thread, members
    int parity                 # of the number of meetings so far


cdef inline int meet(Plan *plan, Member *member) noexcept nogil:
    """Waits for all threads and tells each the same status.

    A thread that fails writes into the word of the present parity; after the barrier everybody reads that word, while
    later failures go to the other one: no thread can leave on news that another has missed.
    """
    cdef int now = member.parity
    team_barrier(plan.barrier, member.members, plan.crowded)
    member.parity = 1 - now
    return shared_read(&plan.status[now])


cdef void run_member(Plan *plan, double *table, int64_t n_steps, int64_t *done) noexcept nogil:
    """One thread's part of all steps. OpenMP may give fewer threads than were asked for (OMP_THREAD_LIMIT)."""
    cdef Member own = Member(omp_get_thread_num(), omp_get_num_threads(), 0)
    cdef int status, team, i
    cdef int64_t step
    cdef double work = 0.0
    cdef double *row
    cdef Instruction *instruction
    for step in range(n_steps):
        row = table + step * plan.n_slots
        if own.thread == 0:
            if not same_extents(plan, row):
                bind_extents(plan, row)
            memcpy(plan.row, row, plan.n_slots * sizeof(double))
        if meet(plan, &own) != KERNEL_OK:
            return
        for i in range(plan.n):
            instruction = &plan.instructions[i]
            if instruction.barrier and meet(plan, &own) != KERNEL_OK:
                return
            if own.thread == 0 and i < plan.commit and shared_read(&plan.status[own.parity]) == KERNEL_OK:
                status = poll(plan, &work, instruction.work)
                if status != KERNEL_OK:
                    shared_write(&plan.status[own.parity], status)
            team = min(plan.team[i], own.members)
            if own.thread < team:
                status = instruction.kernel(instruction, own.thread, team)
                if status != KERNEL_OK:
                    shared_write(&plan.status[own.parity], status)
        if meet(plan, &own) != KERNEL_OK:
            return
        if own.thread == 0:
            memcpy(row, plan.row, plan.n_slots * sizeof(double))
            done[0] += 1


cdef void run_team(Plan *plan, double *table, int64_t n_steps, int64_t *done, int team) noexcept nogil:
    cdef double arrival = 0.0
    cdef double *noted = &arrival
    with nogil, parallel(num_threads=team):
        note_arrival(noted)
        run_member(plan, table, n_steps, done)
    learn_waking(arrival)

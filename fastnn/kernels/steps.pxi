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


cdef struct Pace:
    # Of steps with about as much work, by the way they are done: alone, with helpers. See pace.pxi.
    double seconds[2]          # for each nanosecond of estimated work
    double tried[2]            # seconds that went into finding that out, the last time that it was asked
    double since               # seconds that were spent since then
    int looks                  # how often the slower way was tried again


cdef enum: PACES = 48          # by powers of two of work


cdef struct Plan:
    Instruction *instructions
    Kernel *general            # each instruction's kernel for any operands ...
    Prepare *prepare           # ... and what may know a shorter way for those bound now, or NULL
    int *prepared              # for how many threads that was asked; 0: operands have changed since
    PrepareWhole prepare_all   # what may know a way to run all of them in one go on one thread, or NULL ...
    Instruction whole          # ... and that way; without a kernel, there is none
    int *team                  # threads of each instruction, at the extents bound now
    int *batch_end             # of a batch's first instruction: the one after its last ...
    int *batch_team            # ... and the threads that have something to do in it
    int n, commit, largest_team
    Place *extents             # dimensions that follow an extent
    int n_places, n_extents
    int64_t *bound             # the extents' present values
    Cost *costs                # of each instruction
    double *maximum            # the extents' maxima
    double *row                # this step's row of the run table
    Coming coming              # what the next step will gather
    int n_slots
    int member_limit           # threads this run uses at most
    double last_poll
    double work                # of a whole step, at the extents bound now
    double worked              # of the steps that were begun since somebody set it to 0
    bint short_steps           # it is so little that one look for signals a step is enough
    Pace paces[2][PACES]       # with as many threads as were allowed of late, and before that
    int paced_limit[2]
    bint was_helped            # the last steps that were run


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
        memset(plan.prepared, 0, plan.n * sizeof(int))
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


cdef inline bint starts_batch(const Plan *plan, int i) noexcept nogil:
    """From one barrier to the next, instructions are a batch. One whose shares have to be closed is a batch of its own:
    its scratch memory is everybody's."""
    return (i == 0 or plan.instructions[i].barrier or is_closed(&plan.instructions[i], plan.team[i])
            or is_closed(&plan.instructions[i - 1], plan.team[i - 1]))


cdef void choose_teams(Plan *plan) noexcept nogil:
    """The threads of each instruction and of each batch."""
    cdef int i, first = 0
    plan.largest_team = 1
    plan.work = 0.0
    for i in range(plan.n):
        plan.team[i] = threads_for(plan.instructions[i].work, min(plan.member_limit, plan.instructions[i].max_threads))
        plan.largest_team = max(plan.largest_team, plan.team[i])
        plan.work += plan.instructions[i].work + DISPATCH_WORK
        if starts_batch(plan, i):
            first = i
            plan.batch_team[first] = 1
        plan.batch_end[first] = i + 1
        plan.batch_team[first] = max(plan.batch_team[first], plan.team[i])
    plan.short_steps = plan.work < POLL_WORK


cdef void prepare_instructions(Plan *plan) noexcept nogil:
    """Chooses the shortest way to run each instruction on the operands and threads that it has now, and all of them."""
    cdef Kernel short_way
    cdef bint are_new = False
    cdef int i
    for i in range(plan.n):
        if plan.prepared[i] != plan.team[i]:
            short_way = NULL
            if plan.prepare[i] != NULL:
                short_way = plan.prepare[i](&plan.instructions[i], plan.team[i])
            plan.instructions[i].kernel = plan.general[i] if short_way == NULL else short_way
            plan.prepared[i] = plan.team[i]
            are_new = True
    if are_new:
        plan.whole.kernel = NULL
        if plan.largest_team == 1 and plan.prepare_all != NULL:
            plan.whole.kernel = plan.prepare_all(&plan.whole, plan.instructions, plan.general, plan.n)


cdef Crew *hire_for(const Plan *plan, int64_t n_steps, bint in_any_case, bint *asleep) noexcept nogil:
    """A crew for so many steps with the extents bound now; NULL if they are better done alone."""
    cdef double work = 0.0, saved = -MEETING, each
    cdef int i
    for i in range(plan.n):
        each = plan.instructions[i].work
        work += each
        saved += each - each / plan.team[i] - MEETING * starts_batch(plan, i)
    if saved <= 0.0 and not in_any_case:
        return NULL
    return hire(plan.largest_team, n_steps * work, AT_ONCE if in_any_case else n_steps * saved, asleep)


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


cdef inline void bind_step(Plan *plan, const double *row) noexcept nogil:
    """Binds a step's extents, with which its row of the run table begins, where they differ from the last step's."""
    if not same_extents(plan, row):
        bind_extents(plan, row)
        prepare_instructions(plan)
    plan.worked += plan.work


cdef inline void begin_step(Plan *plan, const double *row) noexcept nogil:
    """Takes over a row of the run table."""
    plan.coming.rows = 0
    memcpy(plan.row, row, plan.n_slots * sizeof(double))


cdef inline void end_step(const Plan *plan, double *row, int64_t *done) noexcept nogil:
    """Gives back what the step has recorded, and counts it."""
    memcpy(row, plan.row, plan.n_slots * sizeof(double))
    done[0] += 1


cdef inline int run_step(Plan *plan, double *row, int64_t *done, double *work) noexcept nogil:
    """All instructions of a step, one after the other."""
    cdef int i, status
    cdef Instruction *instruction
    begin_step(plan, row)
    for i in range(plan.n):
        instruction = &plan.instructions[i]
        if not plan.short_steps and i <= plan.commit:
            status = poll(plan, work, instruction.work)
            if status != KERNEL_OK:
                return status
        status = instruction.kernel(instruction, 0, 1)
        if status != KERNEL_OK:
            return status
    end_step(plan, row, done)
    return KERNEL_OK


cdef inline int run_whole(Plan *plan, double *row, int64_t *done) noexcept nogil:
    """The same in one go, in the row itself."""
    cdef int status
    plan.whole.run = row
    status = plan.whole.kernel(&plan.whole, 0, 1)
    if status == KERNEL_OK:
        done[0] += 1
    return status


cdef int run_alone(Plan *plan, double *table, int64_t n_steps, int64_t *done) noexcept nogil:
    """All steps on the calling thread."""
    cdef int64_t step
    cdef int status
    cdef double work = 0.0
    cdef double *row = table
    prepare_instructions(plan)
    for step in range(n_steps):
        bind_step(plan, row)
        if plan.short_steps:
            status = poll(plan, &work, plan.work)
            if status != KERNEL_OK:
                return status
        if plan.whole.kernel != NULL:
            status = run_whole(plan, row, done)
        else:
            status = run_step(plan, row, done, &work)
        if status != KERNEL_OK:
            return status
        row += plan.n_slots
    return KERNEL_OK


cdef int run_with_crew(Plan *plan, Crew *crew, double *table, int64_t n_steps, int64_t *done) noexcept nogil:
    """All steps with the help of others, batch after batch."""
    cdef int64_t step
    cdef int i, first, last, status
    cdef double work = 0.0
    cdef Shared shared = Shared(plan.instructions, plan.team, KERNEL_OK)
    prepare_instructions(plan)
    for step in range(n_steps):
        bind_step(plan, table + step * plan.n_slots)
        begin_step(plan, table + step * plan.n_slots)
        last = 0
        while last < plan.n:
            first, last = last, plan.batch_end[last]
            if first <= plan.commit:
                for i in range(first, last):
                    status = poll(plan, &work, plan.instructions[i].work)
                    if status != KERNEL_OK:
                        return status
            if plan.batch_team[first] == 1:
                do_batch_share(&shared, batch(first, last), 0)
            else:
                judge(run_job(crew, do_batch_share, &shared, batch(first, last), plan.batch_team[first]), plan.work)
            if shared.status == KERNEL_OK:
                shared.status = close_shares(&plan.instructions[first], plan.team[first])
            if shared.status != KERNEL_OK:
                return shared.status
        end_step(plan, table + step * plan.n_slots, done)
    return KERNEL_OK


cdef int run_timed(Plan *plan, double *table, int64_t n_steps, int64_t *done, double *seconds) noexcept nogil:
    """All steps, one instruction after the other, each on its own team; how long each took goes to a row a step."""
    cdef int64_t step
    cdef int i, status = KERNEL_OK
    cdef double began, clock = clock_cost()
    cdef bint asleep
    cdef Instruction *instruction
    cdef Crew *crew = NULL
    if plan.largest_team > 1:
        crew = hire_for(plan, n_steps, True, &asleep)
    if crew == NULL:
        plan.member_limit = 1
        choose_teams(plan)
    prepare_instructions(plan)
    for step in range(n_steps):
        bind_step(plan, table + step * plan.n_slots)
        begin_step(plan, table + step * plan.n_slots)
        for i in range(plan.n):
            instruction = &plan.instructions[i]
            began = seconds_now()
            if plan.team[i] == 1:
                status = instruction.kernel(instruction, 0, 1)
            else:
                status = run_shared(crew, instruction, plan.team[i])
            seconds[step * plan.n + i] = max(seconds_now() - began - clock, 1e-9)
            if status != KERNEL_OK:
                break
        if status != KERNEL_OK:
            break
        end_step(plan, table + step * plan.n_slots, done)
    if crew != NULL:
        give_crew_back(crew)
    return status


cdef double clock_cost() noexcept nogil:
    """Seconds between two looks at the clock."""
    cdef double best = 1.0, began
    cdef int i
    for i in range(100):
        began = seconds_now()
        best = min(best, seconds_now() - began)
    return best

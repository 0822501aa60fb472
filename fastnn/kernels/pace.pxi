# Whether helpers pay, found out by trying: what it costs to bring data from one core to another, and whether other
# programs use the processors, no estimate knows. No bit depends on it.

cdef double TRIAL = 1e-3              # seconds of steps that are enough to see how fast one way is
cdef double TRIALS_SHARE = 0.01       # of the time goes into looking whether the slower way has become the faster one
cdef double WORTH = 0.97              # helpers have to make it this much faster: they cost processor time
cdef double WORSENING = 1.5           # a way is believed to have become slower by this factor at most, each time


cdef inline Pace *pace_of(Plan *plan) noexcept nogil:
    """What is known of steps with as much work as the present one, within a factor of two."""
    return &plan.paces[min(max(ilogb(plan.work), 0), PACES - 1)]


cdef inline bint faster_with_help(const Pace *pace) noexcept nogil:
    """Not known counts as faster: it is tried, with helpers first."""
    if pace.seconds[0] == 0.0 or pace.seconds[1] == 0.0:
        return pace.seconds[1] == 0.0
    return pace.seconds[1] < WORTH * pace.seconds[0]


cdef inline void learn_pace(Pace *pace, bint helped, double seconds, double work) noexcept nogil:
    """Takes note of how long some work took: an interruption is forgotten soon, a better time at once remembered."""
    cdef double found = seconds / work, known = pace.seconds[helped]
    pace.seconds[helped] = found if known == 0.0 else min(found, WORSENING * known)
    pace.since += seconds


cdef int run_at_best(Plan *plan, double *table, int64_t n_steps, int64_t *done) noexcept nogil:
    """All steps, with helpers or alone, whichever is faster; some of them to find out which."""
    cdef int64_t n
    cdef int status, limit = plan.member_limit
    cdef double began, work
    cdef Pace *pace
    cdef bint helped, on_trial
    cdef Crew *crew
    if plan.paced_limit != limit:
        memset(plan.paces, 0, sizeof(plan.paces))
        plan.paced_limit = limit
    while True:
        pace, work = pace_of(plan), plan.work
        helped = faster_with_help(pace)
        on_trial = pace.seconds[0] == 0.0 or pace.seconds[1] == 0.0
        if not on_trial and pace.since * TRIALS_SHARE > max(TRIAL, pace.seconds[not helped] * work):
            on_trial, helped = True, not helped
            pace.since = 0.0
        n = n_steps
        if on_trial:
            n = min(n, max(<int64_t> 1, <int64_t> (TRIAL / (max(pace.seconds[helped], 1e-9) * work))))
        crew = hire_for(plan, n, False) if helped else NULL
        began = seconds_now()
        if crew != NULL:
            status = run_with_crew(plan, crew, table, n, done)
            give_crew_back(crew)
        else:
            plan.member_limit = 1
            choose_teams(plan)
            status = run_alone(plan, table, n, done)
            plan.member_limit = limit
        if status != KERNEL_OK:
            return status
        learn_pace(pace, crew != NULL, seconds_now() - began, n * work)
        n_steps -= n
        if n_steps == 0:
            return KERNEL_OK
        table += n * plan.n_slots
        choose_teams(plan)

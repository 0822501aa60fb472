# Whether helpers pay, found out by trying: what it costs to bring data from one core to another, and whether other
# programs use the processors, no estimate knows. No bit depends on it.

cdef double TRIAL = 1e-3              # seconds of steps, in two pieces at least, that show how fast a way is
cdef double LONG = 10e-3              # seconds of steps that count, although the first of them are not like the others
cdef double TRIALS_SHARE = 0.01       # of the time goes into looking whether the slower way has become the faster one;
cdef double EAGERNESS = 0.25          # at first so much, and half as much with each look: one trial may mislead, ...
cdef double EAGER = 4e-3              # ... but it is not worth several long steps
cdef double WORTH = 0.97              # helpers have to make it this much faster: they cost processor time
cdef double WORSENING = 0.5           # a way is believed to have become slower by half in as much time as a trial takes


cdef inline Pace *pace_of(Plan *plan) noexcept nogil:
    """What is known of steps with as much work as the present one, within a factor of two, and as many threads."""
    return &plan.paces[0][min(max(ilogb(plan.work), 0), PACES - 1)]


cdef inline void recall_paces(Plan *plan) noexcept nogil:
    """Brings those of the present limit to the front, where two limits take turns (other runs come and go)."""
    cdef Pace pace
    cdef int i
    if plan.paced_limit[0] == plan.member_limit:
        return
    for i in range(PACES):
        pace = plan.paces[0][i]
        plan.paces[0][i] = plan.paces[1][i]
        plan.paces[1][i] = pace
    if plan.paced_limit[1] != plan.member_limit:
        memset(plan.paces[0], 0, sizeof(plan.paces[0]))
    plan.paced_limit[1] = plan.paced_limit[0]
    plan.paced_limit[0] = plan.member_limit


cdef inline bint faster_with_help(const Pace *pace) noexcept nogil:
    """What has not been tried enough counts as faster, with helpers first."""
    if pace.tried[0] < TRIAL or pace.tried[1] < TRIAL:
        return pace.tried[1] < TRIAL
    return pace.seconds[1] < WORTH * pace.seconds[0]


cdef inline void learn_pace(Pace *pace, bint helped, double seconds, double work) noexcept nogil:
    """Takes note of how long some work took: a better time counts at once, a worse one by how long it was so."""
    cdef double found = seconds / work, known = pace.seconds[helped]
    pace.seconds[helped] = found if known == 0.0 else min(found, known * (1.0 + WORSENING * min(1.0, seconds / TRIAL)))
    pace.tried[helped] += min(seconds, 0.5 * TRIAL)
    pace.since += seconds


cdef inline bint looks_again(const Pace *pace, bint helped, double work) noexcept nogil:
    """Whether it is time to try the other way, the slower one: for a step that is not measured and two that are, if
    they are long.

    That helpers do not pay is not believed at first: one may have been kept from his processor just then.
    """
    cdef double slower = pace.seconds[not helped] * work
    cdef double share = max(TRIALS_SHARE, ldexp(EAGERNESS, -pace.looks)) if slower < EAGER else TRIALS_SHARE
    if pace.looks == 0 and not helped:
        return True
    return pace.since * share > max(TRIAL, 3.0 * slower)


cdef inline int64_t steps_in(double seconds, const Pace *pace, bint helped, double work) noexcept nogil:
    """So many steps take about so many seconds: one at least."""
    return max(<int64_t> 1, <int64_t> (seconds / (max(pace.seconds[helped], 1e-9) * work)))


cdef int run_at_best(Plan *plan, double *table, int64_t n_steps, int64_t *done) noexcept nogil:
    """All steps, with helpers or alone, whichever is faster; some of them to find out which.

    The first steps of a way say nothing about how fast it is: a helper may have just been woken, and data lie in the
    caches of those who worked before. They are not measured, unless they take so long that it does not matter.
    """
    cdef int64_t n
    cdef int status, limit = plan.member_limit
    cdef double began, work, seconds
    cdef Pace *pace
    cdef bint helped, on_trial, cold
    cdef Crew *crew
    recall_paces(plan)
    while True:
        pace, work, n = pace_of(plan), plan.work, n_steps
        helped, cold = faster_with_help(pace), False
        on_trial = pace.tried[0] < TRIAL or pace.tried[1] < TRIAL
        if not on_trial and looks_again(pace, helped, work):
            on_trial, helped = True, not helped
            pace.looks += 1
            pace.tried[helped] = pace.since = 0.0
        if on_trial:
            n = min(n, steps_in(0.5 * TRIAL, pace, helped, work))
        crew = hire_for(plan, n, False, &cold) if helped else NULL
        helped = crew != NULL
        cold = cold or helped != plan.was_helped
        if cold:
            n = min(n, steps_in(WAKING, pace, helped, work))
        plan.worked = 0.0
        began = seconds_now()
        if helped:
            status = run_with_crew(plan, crew, table, n, done)
            give_crew_back(crew)
        else:
            plan.member_limit = 1
            choose_teams(plan)
            status = run_alone(plan, table, n, done)
            plan.member_limit = limit
        if status != KERNEL_OK:
            return status
        seconds = seconds_now() - began
        plan.was_helped = helped
        if not cold or seconds > LONG:
            learn_pace(pace, helped, seconds, plan.worked)
        n_steps -= n
        if n_steps == 0:
            return KERNEL_OK
        table += n * plan.n_slots
        bind_extents(plan, table)

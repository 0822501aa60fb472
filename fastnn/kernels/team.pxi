# How many threads a piece of work gets, so that more of them never make it slower.

cdef double THREAD_GRAIN = 6000.0     # nanoseconds of work for each thread that make sharing it worth while ...
cdef double MEETING = 150.0           # ... and what a barrier takes
cdef double WAKING = 100e-6           # seconds that it takes to wake OpenMP's workers, at worst ...
cdef double AWAKE = 1e-3              # ... which after a region spin for so long, at least
cdef bint workers_spin = os.environ.get("OMP_WAIT_POLICY", "").lower() != "passive"
cdef int processors = omp_get_num_procs()

cdef extern from *:
    """
    /* Each Python thread has workers of its own. */
    static __thread double awake_until = 0.0;  /* they spin */
    static __thread double recent_until = 0.0; /* what would have been saved counts */
    static __thread double missed = 0.0;       /* seconds that could have been saved, had they been awake */
    """
    double awake_until
    double recent_until
    double missed


cdef int threads_for(double work, int most) noexcept nogil:
    """As many threads as the work, in nanoseconds on one thread, pays for."""
    cdef double paid = work / THREAD_GRAIN
    return 1 if paid < 2.0 else (most if paid >= most else <int> paid)


cdef bint region_pays(int team, double work, double saved) noexcept:
    """Whether to open a region for work that a team shares, and that saves so much; both in nanoseconds.

    It costs nearly nothing while the workers spin. Once they sleep, they are woken when that has cost as much time as
    waking them does: by one large piece of work, or by several shortly after one another. So whatever the sequence of
    calls is, waking never takes longer than what has been lost, or is saved, without it.
    """
    global awake_until, recent_until, missed, processors
    cdef double now = seconds_now()
    if now > recent_until:
        missed = 0.0
    if now > awake_until or team > processors:
        missed += 1e-9 * saved
        recent_until = now + AWAKE
        if missed < WAKING:
            return False
        processors = omp_get_num_procs()
    missed = 0.0
    recent_until = now + 1e-9 * work + AWAKE
    awake_until = recent_until if workers_spin else 0.0
    return True


cpdef int team_for(double work) except -1:
    """How many threads a call gets that takes so many nanoseconds on one."""
    cdef int team
    if work < 2 * THREAD_GRAIN:
        return 1
    tell_of_fork()
    team = threads_for(work, threads())
    return team if team > 1 and region_pays(team, work, work - work / team) else 1

# How many threads a piece of work gets, so that more of them never make it slower.

cdef double THREAD_GRAIN = 6000.0     # nanoseconds of work for each thread that make sharing it worth while ...
cdef double MEETING = 150.0           # ... and what a barrier takes
cdef double QUICK_WAKING = 100e-6     # seconds that it takes to wake OpenMP's workers: on a quiet machine ...
cdef double SLOW_WAKING = 3e-3        # ... and on a busy one, where they have to wait for a processor
cdef double AWAKE = 1e-3              # after a region they spin for so long, at least
cdef bint workers_spin = os.environ.get("OMP_WAIT_POLICY", "").lower() != "passive"
cdef int processors = omp_get_num_procs()

cdef extern from *:
    """
    /* Each Python thread has workers of its own. */
    static __thread double awake_until = 0.0;  /* they spin */
    static __thread double recent_until = 0.0; /* what would have been saved counts */
    static __thread double missed = 0.0;       /* seconds that could have been saved, had they been awake */
    static __thread double waking = 0.0;       /* what it took the last time until they came, or 0 */
    static __thread double called_at = 0.0;    /* when the region that is about to open was decided on, or 0 */
    static __thread int called_asleep = 0;     /* it wakes them */
    """
    double awake_until
    double recent_until
    double missed
    double waking
    double called_at
    int called_asleep


cdef int threads_for(double work, int most) noexcept nogil:
    """As many threads as the work, in nanoseconds on one thread, pays for."""
    cdef double paid = work / THREAD_GRAIN
    return 1 if paid < 2.0 else (most if paid >= most else <int> paid)


cdef bint region_pays(int team, double work, double saved) noexcept:
    """Whether to open a region for work that a team shares, and that saves so much; both in nanoseconds.

    It costs nearly nothing while the workers spin. Once they sleep, they are woken when that has cost as much time as
    waking them did the last time: by one large piece of work, or by several shortly after one another. After each
    pause what is known of that counts half: the machine may be busy no more.
    """
    global awake_until, recent_until, missed, waking, called_at, called_asleep, processors
    cdef double now = seconds_now()
    if now > recent_until:
        missed = 0.0
        waking *= 0.5
    called_asleep = now > awake_until or team > processors
    if called_asleep:
        missed += 1e-9 * saved
        recent_until = now + AWAKE
        if missed < max(waking, QUICK_WAKING):
            return False
        processors = omp_get_num_procs()
    called_at = now
    missed = 0.0
    recent_until = now + 1e-9 * work + AWAKE
    awake_until = recent_until if workers_spin else 0.0
    return True


cdef inline void note_arrival(double *arrival) noexcept nogil:
    """To be called by every thread of a team that begins: notes when the second does."""
    if omp_get_thread_num() == 1:
        arrival[0] = seconds_now()


cdef inline void learn_waking(double arrival) noexcept nogil:
    """To be called after a region: what it took until the workers came. Late they are, too, where another program has
    taken a processor from those who spun: then they count as asleep."""
    global waking, awake_until, called_at
    cdef double late = arrival - called_at
    if called_at != 0.0 and arrival != 0.0 and (called_asleep or late > QUICK_WAKING):
        waking = min(late, SLOW_WAKING)
        if not called_asleep:
            awake_until = 0.0
    called_at = 0.0


cpdef int team_for(double work) except -1:
    """How many threads a call gets that takes so many nanoseconds on one."""
    cdef int team
    if work < 2 * THREAD_GRAIN:
        return 1
    tell_of_fork()
    team = threads_for(work, threads())
    return team if team > 1 and region_pays(team, work, work - work / team) else 1

# How many threads a piece of work gets, so that more of them never make it slower, and who they are.

cdef extern from "crew.h":
    ctypedef struct Crew:
        pass
    ctypedef void (*Work)(void *context, int64_t part, int share) noexcept nogil
    enum: MOST_SHARES
    double leisure
    Crew *take_crew() noexcept nogil
    void give_crew_back(Crew *crew) noexcept nogil
    bint is_awake(const Crew *crew, int shares) noexcept nogil
    bint start_helpers(Crew *crew, int n) noexcept nogil
    double run_job(Crew *crew, Work work, void *context, int64_t part, int shares) noexcept nogil
    void forget_helpers() noexcept nogil

cdef extern from *:
    """
    /* Of each Python thread. */
    static __thread double missed = 0.0;       /* seconds that helpers would have saved of late, had they been awake */
    static __thread double recent_until = 0.0; /* so long that counts */
    static __thread double alone_until = 0.0;  /* so long nobody is hired */
    """
    double missed
    double recent_until
    double alone_until

cdef double THREAD_GRAIN = 2000.0     # nanoseconds of work for each thread that make sharing it worth while ...
cdef double MEETING = 400.0           # ... and what it takes until all have heard of it, and its foreman of them
cdef double WAKING = 100e-6           # helpers are woken or started when they have been missed for so many seconds ...
cdef double RECENT = 1e-3             # ... with no pause longer than this
cdef double LATE = 500e-6             # a helper is late who is waited for so long, and longer than his work takes: ...
cdef double WARY = 20.0               # ... for so many times as long, nobody is hired
cdef double REFUSED = 1.0             # seconds for which nobody is hired where no more threads could be started
cdef double AT_ONCE = 1e12            # what a crew "saves" that is hired in any case

if os.environ.get("OMP_WAIT_POLICY", "").lower() == "passive":
    leisure = 0.0


cdef int threads_for(double work, int most) noexcept nogil:
    """As many threads as the work, in nanoseconds on one thread, pays for."""
    cdef double paid = work / THREAD_GRAIN
    return 1 if paid < 2.0 else min(most, <int> min(paid, <double> MOST_SHARES))


cdef int team_for(double work) except -1:
    """How many threads a call gets that takes so many nanoseconds on one."""
    if work < 2 * THREAD_GRAIN:
        return 1
    tell_of_fork()
    return threads_for(work, threads())


cdef Crew *hire(int team, double work, double saved, bint *asleep) noexcept nogil:
    """A crew for work that a team shares, and that saves so much, both in nanoseconds; NULL: it is better done alone.

    Helpers who are awake cost nothing. To wake them takes the foreman some microseconds, and they come when as much as
    WAKING has gone by: it is done for one large piece of work, or for several shortly after one another.
    """
    global missed, recent_until, alone_until
    cdef double now
    cdef Crew *crew
    if alone_until != 0.0 and saved != AT_ONCE and seconds_now() < alone_until:
        return NULL
    crew = take_crew()
    if crew == NULL:
        return NULL
    asleep[0] = not is_awake(crew, team)
    if asleep[0]:
        now = seconds_now()
        if now > recent_until:
            missed = 0.0
        missed += 1e-9 * saved
        recent_until = now + 1e-9 * work + RECENT
        if missed < WAKING:
            give_crew_back(crew)
            return NULL
        mark_threads_used()
        if not start_helpers(crew, team - 1) and saved != AT_ONCE:
            alone_until = now + REFUSED
            give_crew_back(crew)
            return NULL
    missed = 0.0
    return crew


cdef inline void judge(double waited, double work) noexcept nogil:
    """Takes note of how long a foreman has waited in a job with so much work, in nanoseconds. A helper whose processor
    another program has taken in the middle of his share holds everybody up: it happens where there are more programs
    than processors, and again and again."""
    global alone_until
    if waited > LATE and waited > 1e-9 * work:
        alone_until = seconds_now() + WARY * waited


cdef struct Shared:
    # Instructions that are done in shares.
    Instruction *instructions
    const int *team            # threads of each
    int status                 # of one that has failed


cdef inline int64_t batch(int first, int last) noexcept nogil:
    """Instructions first ... last - 1, as the part of a job."""
    return <int64_t> first << 32 | last


cdef void do_batch_share(void *context, int64_t part, int share) noexcept nogil:
    """One share of instructions that need not wait for one another, in their order."""
    cdef Shared *shared = <Shared *> context
    cdef Instruction *instruction
    cdef int i, status
    for i in range(<int> (part >> 32), <int> part):
        if share < shared.team[i]:
            instruction = &shared.instructions[i]
            status = instruction.kernel(instruction, share, shared.team[i])
            if status != KERNEL_OK:
                shared_write(&shared.status, status)
                return


cdef inline bint is_closed(const Instruction *instruction, int team) noexcept nogil:
    """Whether something is left to do when all shares are done."""
    return instruction.closes and team > 1


cdef inline int close_shares(const Instruction *instruction, int team) noexcept nogil:
    """Does it."""
    return instruction.kernel(instruction, team, team) if is_closed(instruction, team) else KERNEL_OK


cdef int run_shared(Crew *crew, Instruction *instruction, int team) noexcept nogil:
    """One instruction, in shares."""
    cdef Shared shared = Shared(instruction, &team, KERNEL_OK)
    judge(run_job(crew, do_batch_share, &shared, batch(0, 1), team), instruction.work)
    return close_shares(instruction, team) if shared.status == KERNEL_OK else shared.status

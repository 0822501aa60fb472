# How many threads a run may use: what people asked for, OpenMP, threadpoolctl, the cgroup and forks have a say.

cdef int cpu_quota = 0                # set from cgroups by set_cpu_quota; 0: none
cdef int requested_threads = 0        # by set_num_threads; 0: nobody asked
cdef int main_limit = 0               # by a threadpoolctl context that is open in the main thread; 0: none
cdef int process_default = omp_get_max_threads()
cdef int running_executors = 0
cdef int threads_were_used = 0
cdef enum: FORKED = 1, FORKED_AND_TOLD = 2
cdef int forked_child = 0             # or one of these
cdef int generation = 1               # a forked child counts one more than its parent

cdef extern from *:
    """
    static __thread int own_limit = 0;     /* by a threadpoolctl context open in this Python thread; 0: none */
    static __thread int own_unlimited = 0; /* what threadpoolctl was told before, and will set back */
    static __thread int own_default = 0;   /* OpenMP's number when set_num_threads was called in this Python thread */
    """
    int own_limit
    int own_unlimited
    int own_default


cdef void mark_threads_used() noexcept nogil:
    global threads_were_used
    threads_were_used = 1


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
    context open in the main thread; set_num_threads; OpenMP's default, within the cgroup's quota. All within OpenMP's
    limit (OMP_THREAD_LIMIT).
    """
    if forked_child or not FASTNN_HAS_OPENMP or omp_get_max_active_levels() == 0:
        return 1
    return min(wished_threads(), omp_get_thread_limit())


cdef int wished_threads() noexcept:
    cdef int number = omp_get_max_threads()
    if own_limit:
        return own_limit
    if number != (own_default or process_default):
        return number
    if main_limit or requested_threads:
        return main_limit or requested_threads
    return min(number, cpu_quota) if cpu_quota else number


def after_fork_in_child():
    """Threads do not survive a fork, and of many forked processes each has a processor at best: run on one thread."""
    global forked_child, generation, running_executors
    forget_helpers()
    generation += 1
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

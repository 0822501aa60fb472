/* A crew: threads that help a foreman, who is whoever calls. A job has shares. The foreman does share 0, each helper
 * first the share of its own number; who has done his does what nobody has begun, a helper of the next few shares, the
 * foreman of all. So nobody is waited for who has not come: a helper that sleeps, or whose processor another program
 * has, costs its help and nothing else. What a share computes does not depend on who does it: the foreman's rounding
 * mode and his way with denormal numbers hold for all.
 *
 * Jobs of a crew are numbered. A share is taken by raising its `claimed` to the job's number; that works once, and
 * never for a job that is over, since all its shares were claimed. Whoever holds a share may read the job's
 * description: the foreman goes on only when all shares are finished.
 *
 * A cache line takes 70 to 200 nanoseconds from one core to another. So a job's description is one line, and a helper
 * writes all that it says into another, which it fetches back before it is needed again.
 */
#ifndef FASTNN_CREW_H
#define FASTNN_CREW_H

#if defined(__linux__) && !defined(_GNU_SOURCE)
#define _GNU_SOURCE /* for the affinity of threads */
#endif
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdint.h>
#include <stdlib.h>

#include "openmp.h"

enum { SHARE_BITS = 13, MOST_SHARES = 4096 }; /* a job's number and its count of shares are one word */
enum { NEIGHBOURS = 4 };                      /* shares that a helper looks at, its own first */
enum { PAUSES = 64 };                         /* between two looks at the clock: 1 to 3 microseconds */
static const double POLITE = 20e-6;           /* seconds from which on who waits offers his processor to others; ... */
static const double BUSY = 1e-3;              /* ... a foreman only now, who would get it back late, unless crowded */
static const double PATIENCE = 10e-3;         /* then who waits sleeps; to be woken takes some 50 microseconds */
static double leisure = 2e-3;                 /* after so many a helper sleeps whose crew has no foreman */
enum { LINES = 128 };                         /* bytes: processors fetch cache lines in pairs */

typedef void (*Work)(void *context, int64_t part, int share);
typedef struct Crew Crew;

/* One share of the present job, and the helper of that number. */
typedef struct {
    uint64_t claimed __attribute__((aligned(LINES))); /* the last job in which somebody has taken it ... */
    uint64_t finished;                                /* ... and in which it was done */
    Crew *crew;
    pthread_t thread;
    pthread_cond_t call;
    uint32_t asleep;
    uint32_t sent; /* away from the foreman: see send_elsewhere */
#if defined(__linux__)
    cpu_set_t processors; /* where it may run once it is there */
#endif
} Share;

struct Crew {
    uint64_t job __attribute__((aligned(LINES))); /* the number of the present job, and its shares */
    Work work;                                    /* what is to be done for each share ... */
    void *context;                                /* ... with what, ... */
    int64_t part;                                 /* ... and which part of it, ... */
    uint64_t float_mode;                          /* ... and how numbers are rounded */
    uint32_t busy __attribute__((aligned(LINES))); /* it has a foreman ... */
    uint32_t waiting;                              /* ... who sleeps until `done` */
    int helpers;                                   /* threads that exist: of shares 1 ... helpers */
    int crowded;                                   /* there are more of them, with the foreman, than processors */
    pthread_mutex_t mutex;
    pthread_cond_t done;
    Crew *next;
    Share share[MOST_SHARES];
};

static Crew *crews; /* all that there ever were: as many as there were foremen at once */

static inline void relax(void) {
#if defined(__x86_64__) || defined(__i386__)
    __builtin_ia32_pause();
#elif defined(__aarch64__)
    __asm__ volatile("yield");
#endif
}

/* Brings the cache line that holds p, for writing. */
static inline void take_line(void *p) {
#if defined(__x86_64__)
    __asm__ volatile("prefetchw %0" : : "m"(*(char *)p));
#else
    __builtin_prefetch(p, 1);
#endif
}

/* How this thread rounds, and whether it takes denormal numbers for 0; without the flags that operations leave. */
static inline uint64_t float_mode(void) {
#if defined(__x86_64__)
    return __builtin_ia32_stmxcsr() & ~0x3fu;
#elif defined(__aarch64__)
    uint64_t mode;
    __asm__ volatile("mrs %0, fpcr" : "=r"(mode));
    return mode;
#else
    return 0;
#endif
}

static inline void set_float_mode(uint64_t mode) {
#if defined(__x86_64__)
    __builtin_ia32_ldmxcsr((unsigned)mode);
#elif defined(__aarch64__)
    __asm__ volatile("msr fpcr, %0" : : "r"(mode));
#else
    (void)mode;
#endif
}

/* One look, for some time, at a word that somebody is about to change; returns whether it is still `value`. Who has
 * waited for `polite` seconds offers the processor: whom he waits for may need it. `mine`: what the waiting thread
 * will write next, or NULL. `since`: when the wait began, 0.0 at first; `waited`: seconds since then.                */
static int still(const uint64_t *word, uint64_t value, void *mine, double polite, double *since, double *waited) {
    for (int i = 0; i < PAUSES; i++) {
        if (__atomic_load_n(word, __ATOMIC_ACQUIRE) != value) return 0;
        if (mine) take_line(mine);
        relax();
    }
    double now = seconds_now();
    if (*since == 0.0) *since = now;
    *waited = now - *since;
    if (*waited > polite) sched_yield();
    return 1;
}

/* ------------------------------------------------------------------------------------------------------ shares */

static int shares_of(uint64_t job) { return (int)(job & ((1 << SHARE_BITS) - 1)); }

static int claim(Share *share, uint64_t job) {
    uint64_t last = __atomic_load_n(&share->claimed, __ATOMIC_RELAXED);
    if (last >= job) return 0;
    return __atomic_compare_exchange_n(&share->claimed, &last, job, 0, __ATOMIC_ACQ_REL, __ATOMIC_RELAXED);
}

/* Does one share, and wakes a foreman who sleeps: either he sees that it is finished, or he is seen to wait, since both
 * write before they read, in one order for all (SEQ_CST). The same holds for `asleep` and a new job below.           */
static void do_share(Crew *crew, uint64_t job, int number) {
    if (float_mode() != crew->float_mode) set_float_mode(crew->float_mode);
    crew->work(crew->context, crew->part, number);
    __atomic_store_n(&crew->share[number].finished, job, __ATOMIC_SEQ_CST);
    if (__atomic_load_n(&crew->waiting, __ATOMIC_SEQ_CST)) {
        pthread_mutex_lock(&crew->mutex);
        pthread_cond_signal(&crew->done);
        pthread_mutex_unlock(&crew->mutex);
    }
}

/* Does what nobody has begun of `most` shares, the foreman's left out, from `number` on and round; returns how many. */
static int do_shares(Crew *crew, uint64_t job, int number, int most) {
    int others = shares_of(job) - 1, found = 0;
    for (int i = 0; i < others && i < most; i++) {
        int each = 1 + (number - 1 + i) % others;
        Share *share = &crew->share[each];
        if (__atomic_load_n(&share->finished, __ATOMIC_ACQUIRE) != job && claim(share, job)) {
            do_share(crew, job, each);
            found++;
        }
    }
    return found;
}

/* ----------------------------------------------------------------------------------------------------- helpers */

static void sleep_until_called(Crew *crew, Share *own, uint64_t last) {
    pthread_mutex_lock(&crew->mutex);
    __atomic_store_n(&own->asleep, 1, __ATOMIC_SEQ_CST);
    if (__atomic_load_n(&crew->job, __ATOMIC_SEQ_CST) != last) __atomic_store_n(&own->asleep, 0, __ATOMIC_RELAXED);
    while (__atomic_load_n(&own->asleep, __ATOMIC_RELAXED)) pthread_cond_wait(&own->call, &crew->mutex);
    pthread_mutex_unlock(&crew->mutex);
}

/* Sends a helper that is not running to any processor of the foreman's but the one where he is. Left to itself, Linux
 * often puts it just there (in virtual machines, whose idle processors it takes to be busy elsewhere), and since the
 * foreman does not stop, it waits for milliseconds. Once it runs, it may go anywhere again.                          */
static void send_elsewhere(Share *helper) {
#if defined(__linux__)
    cpu_set_t others;
    int here = sched_getcpu();
    helper->crew->crowded = 1;
    if (here < 0 || pthread_getaffinity_np(pthread_self(), sizeof others, &helper->processors)) return;
    if (CPU_COUNT(&helper->processors) == 1) return; /* the foreman's own business */
    helper->crew->crowded = helper->crew->helpers + 1 > CPU_COUNT(&helper->processors);
    others = helper->processors;
    CPU_CLR(here, &others);
    __atomic_store_n(&helper->sent, 1, __ATOMIC_RELEASE);
    pthread_setaffinity_np(helper->thread, sizeof others, &others);
#else
    (void)helper;
#endif
}

static void arrive(Share *own) {
#if defined(__linux__)
    if (!__atomic_load_n(&own->sent, __ATOMIC_ACQUIRE)) return;
    pthread_setaffinity_np(pthread_self(), sizeof own->processors, &own->processors);
    __atomic_store_n(&own->sent, 0, __ATOMIC_RELAXED);
#else
    (void)own;
#endif
}

static void *help(void *argument) {
    Share *own = argument;
    Crew *crew = own->crew;
    int number = (int)(own - crew->share);
    double since = 0.0, waited;
    for (;;) {
        uint64_t job = __atomic_load_n(&crew->job, __ATOMIC_ACQUIRE);
        if (number < shares_of(job) && do_shares(crew, job, number, NEIGHBOURS)) since = 0.0;
        arrive(own);
        while (still(&crew->job, job, own, POLITE, &since, &waited)) {
            if (waited > (__atomic_load_n(&crew->busy, __ATOMIC_RELAXED) ? PATIENCE : leisure)) {
                sleep_until_called(crew, own, job);
                since = 0.0;
            }
        }
    }
    return NULL;
}

/* Starts helpers until there are so many; returns whether there are, or the system gives no more threads. They leave
 * signals to others, but for those of their own faults.                                                              */
static int start_helpers(Crew *crew, int n) {
    sigset_t all, before;
    sigfillset(&all);
    sigdelset(&all, SIGSEGV);
    sigdelset(&all, SIGBUS);
    sigdelset(&all, SIGFPE);
    sigdelset(&all, SIGILL);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    while (crew->helpers < n) {
        Share *own = &crew->share[crew->helpers + 1];
        own->crew = crew;
        own->asleep = own->sent = 0;
        pthread_cond_init(&own->call, NULL);
        if (pthread_create(&own->thread, NULL, help, own)) break;
        crew->helpers++;
        send_elsewhere(own);
        pthread_detach(own->thread);
    }
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    return crew->helpers >= n;
}

/* ----------------------------------------------------------------------------------------------------- foremen */

/* A crew without a foreman; whoever takes it gives it back. NULL if there is no memory for one. */
static Crew *take_crew(void) {
    Crew *crew;
    for (crew = __atomic_load_n(&crews, __ATOMIC_ACQUIRE); crew; crew = crew->next) {
        uint32_t free = 0;
        if (__atomic_compare_exchange_n(&crew->busy, &free, 1, 0, __ATOMIC_ACQUIRE, __ATOMIC_RELAXED)) return crew;
    }
    char *memory = calloc(1, sizeof(Crew) + LINES); /* pages of shares that nobody uses are never touched */
    if (memory == NULL) return NULL;
    crew = (Crew *)(memory + (LINES - (uintptr_t)memory % LINES));
    crew->busy = 1;
    pthread_mutex_init(&crew->mutex, NULL);
    pthread_cond_init(&crew->done, NULL);
    crew->next = __atomic_load_n(&crews, __ATOMIC_RELAXED);
    while (!__atomic_compare_exchange_n(&crews, &crew->next, crew, 0, __ATOMIC_RELEASE, __ATOMIC_RELAXED)) {}
    return crew;
}

static void give_crew_back(Crew *crew) { __atomic_store_n(&crew->busy, 0, __ATOMIC_RELEASE); }

/* Whether the helpers that a job of so many shares needs are there and awake. */
static int is_awake(const Crew *crew, int shares) {
    for (int i = 1; i < shares; i++)
        if (i > crew->helpers || __atomic_load_n(&crew->share[i].asleep, __ATOMIC_RELAXED)) return 0;
    return 1;
}

/* Waits until one share is finished; returns for how many seconds, roughly. */
static double await_share(Crew *crew, Share *share, uint64_t job) {
    uint64_t before = __atomic_load_n(&share->finished, __ATOMIC_ACQUIRE);
    double since = 0.0, waited = 0.0;
    if (before == job) return 0.0;
    while (still(&share->finished, before, NULL, crew->crowded ? POLITE : BUSY, &since, &waited)) {
        if (waited <= PATIENCE) continue;
        pthread_mutex_lock(&crew->mutex);
        __atomic_store_n(&crew->waiting, 1, __ATOMIC_SEQ_CST);
        while (__atomic_load_n(&share->finished, __ATOMIC_SEQ_CST) != job)
            pthread_cond_wait(&crew->done, &crew->mutex);
        __atomic_store_n(&crew->waiting, 0, __ATOMIC_RELAXED);
        pthread_mutex_unlock(&crew->mutex);
        return seconds_now() - since;
    }
    return waited;
}

/* Does a job of so many shares, at least two; returns when it is done, and for how many seconds, roughly, the foreman
 * had nothing to do but wait.                                                                                        */
static double run_job(Crew *crew, Work work, void *context, int64_t part, int shares) {
    uint64_t job = ((crew->job >> SHARE_BITS) + 1) << SHARE_BITS | shares;
    crew->work = work;
    crew->context = context;
    crew->part = part;
    crew->float_mode = float_mode();
    __atomic_store_n(&crew->job, job, __ATOMIC_SEQ_CST);
    for (int i = 1; i < shares && i <= crew->helpers; i++) {
        Share *helper = &crew->share[i];
        if (__atomic_load_n(&helper->asleep, __ATOMIC_SEQ_CST)) {
            send_elsewhere(helper);
            pthread_mutex_lock(&crew->mutex);
            __atomic_store_n(&helper->asleep, 0, __ATOMIC_RELAXED);
            pthread_cond_signal(&helper->call);
            pthread_mutex_unlock(&crew->mutex);
        }
    }
    work(context, part, 0);
    do_shares(crew, job, 1, shares);
    double waited = 0.0;
    for (int i = 1; i < shares; i++) waited += await_share(crew, &crew->share[i], job);
    return waited;
}

/* In a forked child: the helpers have stayed behind. A crew in mid-job goes on without them. */
static void forget_helpers(void) {
    for (Crew *crew = crews; crew; crew = crew->next) {
        crew->helpers = 0;
        pthread_mutex_init(&crew->mutex, NULL); /* a helper may have held it */
    }
}

#endif

/* A crew: threads that help a foreman, who is whoever calls. A job has shares. The foreman does share 0, each helper
 * first the share of its own number, and everybody then what nobody has begun. So nobody is waited for who has not come:
 * a helper that sleeps, or whose processor another program has, costs its help and nothing else. What a share computes
 * does not depend on who does it.
 *
 * Jobs of a crew are numbered. A share is taken by raising its `claimed` to the job's number; that works once, and never
 * for a job that is over, since all its shares were claimed. Whoever holds a share may read the job's description: the
 * foreman goes on only when all shares are finished.
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
enum { PAUSES = 64 };                         /* between two looks at the clock: 1 to 3 microseconds */
static const double POLITE = 20e-6;           /* seconds from which on who waits offers his processor to others, ... */
static const double BUSY = 1e-3;              /* ... or a foreman, who would get it back late, if helpers have their own, ... */
static const double PATIENCE = 10e-3;         /* ... and sleeps; to be woken takes some 50 microseconds */
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
} Share;

struct Crew {
    uint64_t job __attribute__((aligned(LINES))); /* the number of the present job, and its shares */
    Work work;                                    /* what is to be done for each share ... */
    void *context;                                /* ... with what, ... */
    int64_t part;                                 /* ... and which part of it */
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

/* One look, for some time, at a word that somebody is about to change; returns whether it is still `value`. Who has
 * waited for `polite` seconds offers the processor: whom he waits for may need it. `mine`: what the waiting thread will
 * write next, or NULL. `since`: when the wait began, 0.0 at first; `waited`: seconds since then.                       */
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
    return last < job && __atomic_compare_exchange_n(&share->claimed, &last, job, 0, __ATOMIC_ACQ_REL, __ATOMIC_RELAXED);
}

/* Does one share, and wakes a foreman who sleeps: either he sees that it is finished, or he is seen to wait, since both
 * write before they read, in one order for all (SEQ_CST). The same holds for `asleep` and a new job below.           */
static void do_share(Crew *crew, uint64_t job, int number) {
    crew->work(crew->context, crew->part, number);
    __atomic_store_n(&crew->share[number].finished, job, __ATOMIC_SEQ_CST);
    if (__atomic_load_n(&crew->waiting, __ATOMIC_SEQ_CST)) {
        pthread_mutex_lock(&crew->mutex);
        pthread_cond_signal(&crew->done);
        pthread_mutex_unlock(&crew->mutex);
    }
}

/* Does all shares but the foreman's that nobody has begun, from `number` on and round; returns how many. */
static int do_shares(Crew *crew, uint64_t job, int number) {
    int others = shares_of(job) - 1, found = 0;
    for (int i = 0; i < others; i++) {
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
    if (__atomic_load_n(&crew->job, __ATOMIC_SEQ_CST) != last) own->asleep = 0;
    while (own->asleep) pthread_cond_wait(&own->call, &crew->mutex);
    pthread_mutex_unlock(&crew->mutex);
}

static void *help(void *argument) {
    Share *own = argument;
    Crew *crew = own->crew;
    int number = (int)(own - crew->share);
    double since = 0.0, waited;
    for (;;) {
        uint64_t job = __atomic_load_n(&crew->job, __ATOMIC_ACQUIRE);
        if (number < shares_of(job) && do_shares(crew, job, number)) since = 0.0;
        while (still(&crew->job, job, own, POLITE, &since, &waited)) {
            if (waited > (__atomic_load_n(&crew->busy, __ATOMIC_RELAXED) ? PATIENCE : leisure)) {
                sleep_until_called(crew, own, job);
                since = 0.0;
            }
        }
    }
    return NULL;
}

/* Sends a helper that is not running to any processor of the foreman's but the one where he is. Left to itself, Linux often
 * puts it just there (in virtual machines, whose idle processors it takes to be busy elsewhere), and since the foreman
 * does not stop, it waits for milliseconds.                                                                             */
static void send_elsewhere(Share *helper) {
#if defined(__linux__)
    cpu_set_t processors;
    int here = sched_getcpu();
    if (here < 0 || pthread_getaffinity_np(pthread_self(), sizeof processors, &processors)) return;
    helper->crew->crowded = helper->crew->helpers + 1 > CPU_COUNT(&processors);
    if (CPU_COUNT(&processors) > 1) CPU_CLR(here, &processors);
    pthread_setaffinity_np(helper->thread, sizeof processors, &processors);
#else
    (void)helper;
#endif
}

/* Starts helpers until there are so many; fewer where the system gives no more threads. They leave signals to others. */
static void start_helpers(Crew *crew, int n) {
    sigset_t all, before;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    while (crew->helpers < n) {
        Share *own = &crew->share[crew->helpers + 1];
        own->crew = crew;
        own->asleep = 0;
        pthread_cond_init(&own->call, NULL);
        if (pthread_create(&own->thread, NULL, help, own)) break;
        crew->helpers++;
        send_elsewhere(own);
        pthread_detach(own->thread);
    }
    pthread_sigmask(SIG_SETMASK, &before, NULL);
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
        while (__atomic_load_n(&share->finished, __ATOMIC_SEQ_CST) != job) pthread_cond_wait(&crew->done, &crew->mutex);
        crew->waiting = 0;
        pthread_mutex_unlock(&crew->mutex);
        return seconds_now() - since;
    }
    return waited;
}

/* Does a job of so many shares, at least two; returns when it is done, and for how many seconds, roughly, the foreman had
 * nothing to do but wait.                                                                                               */
static double run_job(Crew *crew, Work work, void *context, int64_t part, int shares) {
    uint64_t job = ((crew->job >> SHARE_BITS) + 1) << SHARE_BITS | shares;
    crew->work = work;
    crew->context = context;
    crew->part = part;
    __atomic_store_n(&crew->job, job, __ATOMIC_SEQ_CST);
    for (int i = 1; i < shares && i <= crew->helpers; i++) {
        Share *helper = &crew->share[i];
        if (__atomic_load_n(&helper->asleep, __ATOMIC_SEQ_CST)) {
            send_elsewhere(helper);
            pthread_mutex_lock(&crew->mutex);
            helper->asleep = 0;
            pthread_cond_signal(&helper->call);
            pthread_mutex_unlock(&crew->mutex);
        }
    }
    work(context, part, 0);
    do_shares(crew, job, 1);
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

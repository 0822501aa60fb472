/* A barrier for the threads of one run. Who waits spins for a while and then sleeps. Where there are more threads than
 * processors, it offers its own to the others as it spins: those whom it waits for may need it.
 */
#ifndef FASTNN_BARRIER_H
#define FASTNN_BARRIER_H

#include <limits.h>
#include <sched.h>
#include <stdint.h>

#include "openmp.h"

#if defined(__linux__)
#include <linux/futex.h>
#include <sys/syscall.h>
#include <unistd.h>
#endif

enum { PAUSES = 64 };                 /* between two looks at the clock: 1 to 3 microseconds */
static const double PATIENCE = 10e-3; /* seconds until a thread sleeps; to wake it takes some 30 microseconds */

/* All zero before its first round. Processors fetch cache lines in pairs: what is written by those who come has its own,
 * and what is read by those who wait.                                                                               */
typedef struct {
    uint32_t present; /* threads that have come and not gone on */
    char space[128 - sizeof(uint32_t)];
    uint32_t round;    /* how often all have gone on; it may wrap around */
    uint32_t sleepers; /* threads that may be asleep until it changes */
    char more_space[128 - 2 * sizeof(uint32_t)];
} Barrier;

static inline void relax(void) {
#if defined(__x86_64__) || defined(__i386__)
    __builtin_ia32_pause();
#elif defined(__aarch64__)
    __asm__ volatile("yield");
#endif
}

/* Either a sleeper sees the new round, or who has written it sees the sleeper: both write before they read, in one order
 * for all (SEQ_CST), and the kernel looks at the round again before it puts anybody to sleep.                        */
static void sleep_through(Barrier *barrier, uint32_t round) {
#if defined(__linux__)
    __atomic_add_fetch(&barrier->sleepers, 1, __ATOMIC_SEQ_CST);
    while (__atomic_load_n(&barrier->round, __ATOMIC_SEQ_CST) == round)
        syscall(SYS_futex, &barrier->round, FUTEX_WAIT_PRIVATE, round, NULL, NULL, 0);
    __atomic_sub_fetch(&barrier->sleepers, 1, __ATOMIC_RELAXED);
#else
    while (__atomic_load_n(&barrier->round, __ATOMIC_ACQUIRE) == round) sched_yield();
#endif
}

static void go_on(Barrier *barrier, uint32_t round) {
    __atomic_store_n(&barrier->round, round, __ATOMIC_SEQ_CST);
#if defined(__linux__)
    if (__atomic_load_n(&barrier->sleepers, __ATOMIC_SEQ_CST))
        syscall(SYS_futex, &barrier->round, FUTEX_WAKE_PRIVATE, INT_MAX, NULL, NULL, 0);
#endif
}

/* Waits for all n threads. What a thread wrote before it came, all see after. */
static void team_barrier(Barrier *barrier, uint32_t n, int crowded) {
    uint32_t round = __atomic_load_n(&barrier->round, __ATOMIC_RELAXED);
    double since = 0.0, now;
    if (__atomic_add_fetch(&barrier->present, 1, __ATOMIC_ACQ_REL) == n) {
        __atomic_store_n(&barrier->present, 0, __ATOMIC_RELAXED);
        go_on(barrier, round + 1);
        return;
    }
    for (;;) {
        for (int i = 0; i < PAUSES; i++) {
            if (__atomic_load_n(&barrier->round, __ATOMIC_ACQUIRE) != round) return;
            relax();
        }
        now = seconds_now();
        if (since == 0.0) since = now;
        if (now - since >= PATIENCE) {
            sleep_through(barrier, round);
            return;
        }
        if (crowded) sched_yield();
    }
}

#endif

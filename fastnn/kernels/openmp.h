/* What OpenMP's settings say about threads, where the compiler has it: OMP_NUM_THREADS, affinity, threadpoolctl and
 * others reach us that way. The threads themselves are our own (crew.h). Without OpenMP, runs use one. */
#ifndef FASTNN_OPENMP_H
#define FASTNN_OPENMP_H

#include <time.h>

#ifdef _OPENMP
#include <omp.h>
#define FASTNN_HAS_OPENMP 1
#else
#define FASTNN_HAS_OPENMP 0
static int omp_get_max_threads(void) { return 1; }
static int omp_get_thread_limit(void) { return 1; }
static int omp_get_max_active_levels(void) { return 1; }
#endif

/* By this name threadpoolctl knows the library: see fastnn/runtime.py. */
__attribute__((visibility("default"))) extern const int fastnn_executor;
const int fastnn_executor = 1;

static void shared_write(int *word, int value) { __atomic_store_n(word, value, __ATOMIC_RELEASE); }
static int shared_add(int *word, int value) { return __atomic_add_fetch(word, value, __ATOMIC_ACQ_REL); }

static double seconds_now(void) {
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (double)now.tv_sec + 1e-9 * (double)now.tv_nsec;
}

#endif

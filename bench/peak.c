/* What the machine can do at most: multiply-adds from registers, a pass over memory, the clock itself, and how soon one
 * core sees what another has written. Compiled at run time with the flags of the instruction-set level under test; the
 * vector type takes that level's width.                                                                             */
#include <stdint.h>

#ifdef __AVX512F__
#define BYTES 64
#elif defined(__AVX__)
#define BYTES 32
#else
#define BYTES 16
#endif

typedef float vf __attribute__((vector_size(BYTES)));

/* Twelve independent sums: more than latency times throughput of any processor, and with two operands they fit into
 * sixteen registers. They have names of their own, since gcc keeps an array in memory here.                         */
#define FOR_EACH_SUM(DO) DO(0) DO(1) DO(2) DO(3) DO(4) DO(5) DO(6) DO(7) DO(8) DO(9) DO(10) DO(11)
#define START(i) vf sum##i = x * (float)i;
#define MULTIPLY_ADD(i) sum##i = sum##i * x + y; /* one instruction where the level has it, by -ffp-contract=fast */
#define COLLECT(i) total += sum##i;

/* Runs so many steps of twelve multiply-adds of vectors; returns how many floating-point operations that is. */
int64_t multiply_adds(int64_t steps, float factor, float term, float *sink) {
    vf x = (vf){0} + factor, y = (vf){0} + term, total = {0};
    FOR_EACH_SUM(START)
    for (int64_t step = 0; step < steps; step++) {
        FOR_EACH_SUM(MULTIPLY_ADD)
    }
    FOR_EACH_SUM(COLLECT)
    for (int lane = 0; lane < BYTES / 4; lane++) *sink += total[lane];
    return steps * 12 * (BYTES / 4) * 2;
}

/* a = b + s c over n numbers each, again and again: 12 n bytes read and written each time. */
__attribute__((noinline)) static void triad(float *restrict a, const float *restrict b, const float *restrict c, float s,
                                            int64_t n) {
    for (int64_t i = 0; i < n; i++) a[i] = b[i] + s * c[i];
}

void triads(float *a, const float *b, const float *c, float s, int64_t n, int64_t times) {
    for (int64_t i = 0; i < times; i++) triad(a, b, c, s, n);
}

/* So many times sixteen additions of whole numbers, each of which waits for the one before: a cycle each. The compiler
 * is kept from adding them up, and no number stands in the instruction, since some processors need no time for that.
 * Beside them go twelve multiply-adds, which have time enough: the clock is to be that of vectors being multiplied.  */
#define WAIT __asm__ volatile("" : "+r"(sum))
#define ADD sum += term; WAIT;
#define ADD_AND(i) MULTIPLY_ADD(i) ADD
int64_t dependent_adds(int64_t steps, int64_t term, float factor, float *sink) {
    vf x = (vf){0} + factor, y = x, total = {0};
    int64_t sum = 0;
    FOR_EACH_SUM(START)
    for (int64_t step = 0; step < steps; step++) {
        FOR_EACH_SUM(ADD_AND)
        ADD ADD ADD ADD
    }
    FOR_EACH_SUM(COLLECT)
    for (int lane = 0; lane < BYTES / 4; lane++) *sink += total[lane];
    return sum;
}

/* One of two threads between which a cache line goes back and forth so many times; `mine` is 0 for one, 1 for the other,
 * and the line holds 0 at first.                                                                                    */
void hand_over(int64_t *line, int64_t times, int64_t mine) {
    for (int64_t number = mine; number < 2 * times; number += 2) {
        while (__atomic_load_n(line, __ATOMIC_ACQUIRE) != number) {
        }
        __atomic_store_n(line, number + 1, __ATOMIC_RELEASE);
    }
}

/* What the machine can do at most: multiply-adds from registers, and a pass over memory. Compiled at run time with the
 * flags of the instruction-set level under test; the vector type takes that level's width.                          */
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

/* a = b + s c over n numbers each: 12 n bytes read and written. */
void triad(float *restrict a, const float *restrict b, const float *restrict c, float s, int64_t n) {
    for (int64_t i = 0; i < n; i++) a[i] = b[i] + s * c[i];
}

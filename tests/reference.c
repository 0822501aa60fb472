/* The kernels' exact reference: scalar loops that say in which order every number is computed.
 *
 * Compiled by tests/reference.py at -O1 -ffp-contract=off, twice: with fused multiply-adds (FUSED=1), as every level
 * with such hardware computes, and with a multiplication and an addition (FUSED=0), as v2 does.                     */
#include <math.h>
#include <stddef.h>
#include <stdint.h>

#if FUSED
#define MULTIPLY_ADD_float32(a, b, c) fmaf(a, b, c)
#define MULTIPLY_ADD_float64(a, b, c) fma(a, b, c)
#else
#define MULTIPLY_ADD_float32(a, b, c) ((a) * (b) + (c))
#define MULTIPLY_ADD_float64(a, b, c) ((a) * (b) + (c))
#endif

/* c[m, n] = start[m, n] + a[m, k] b[k, n], everything strided (in elements); no start: from zero. */
#define PRODUCT(name, real)                                                                                            \
    void product_##name(int64_t m, int64_t n, int64_t k, int64_t chain, const real *a, int64_t a_row, int64_t a_step,  \
                        const real *b, int64_t b_step, int64_t b_column, const real *start, int64_t start_row,         \
                        int64_t start_column, real *c, int64_t c_row, int64_t c_column) {                              \
        for (int64_t i = 0; i < m; i++)                                                                                \
            for (int64_t j = 0; j < n; j++) {                                                                          \
                real sum = start ? start[i * start_row + j * start_column] : 0;                                        \
                for (int64_t p = 0; p < k && p < chain; p++)                                                           \
                    sum = MULTIPLY_ADD_##name(a[i * a_row + p * a_step], b[p * b_step + j * b_column], sum);           \
                for (int64_t first = chain; first < k; first += chain) {                                               \
                    real next = 0;                                                                                     \
                    for (int64_t p = first; p < k && p < first + chain; p++)                                           \
                        next = MULTIPLY_ADD_##name(a[i * a_row + p * a_step], b[p * b_step + j * b_column], next);     \
                    sum = sum + next;                                                                                  \
                }                                                                                                      \
                c[i * c_row + j * c_column] = sum;                                                                     \
            }                                                                                                          \
    }
PRODUCT(float32, float)
PRODUCT(float64, double)

/* Sums. A row: element i goes to lane i % 16, lanes are folded 8-4-2-1; chunks of 4096, added in order. A column: one
 * element after the other; chunks of 512, added in order. What rounding takes from the chunks' sum is kept and added in
 * the end, unless it is NaN, as it is once the sum is infinite. `squares` adds x * x instead of x.                    */
enum { LANES = 16, SUM_CHUNK = 4096, ROW_CHUNK = 512 };

#define ADD_CHUNK(real, part)                                                                                          \
    {                                                                                                                  \
        real sum = total + part, added = sum - total;                                                                  \
        lost = lost + ((total - (sum - added)) + (part - added));                                                      \
        total = sum;                                                                                                   \
    }

#define SUMS(name, real)                                                                                               \
    real row_sum_##name(int64_t n, const real *x, int64_t step, int squares) {                                         \
        real total = 0, lost = 0;                                                                                      \
        for (int64_t first = 0; first < n; first += SUM_CHUNK) {                                                       \
            real lane[LANES] = {0};                                                                                    \
            for (int64_t i = first; i < n && i < first + SUM_CHUNK; i++) {                                             \
                real *sum = &lane[(i - first) % LANES], value = x[i * step];                                           \
                *sum = squares ? MULTIPLY_ADD_##name(value, value, *sum) : *sum + value;                               \
            }                                                                                                          \
            for (int half = LANES / 2; half >= 1; half /= 2)                                                           \
                for (int i = 0; i < half; i++) lane[i] = lane[i] + lane[i + half];                                     \
            ADD_CHUNK(real, lane[0])                                                                                   \
        }                                                                                                              \
        return lost == lost ? total + lost : total;                                                                    \
    }                                                                                                                  \
    real column_sum_##name(int64_t n, const real *x, int64_t step) {                                                   \
        real total = 0, lost = 0;                                                                                      \
        for (int64_t first = 0; first < n; first += ROW_CHUNK) {                                                       \
            real part = 0;                                                                                             \
            for (int64_t i = first; i < n && i < first + ROW_CHUNK; i++) part = part + x[i * step];                    \
            ADD_CHUNK(real, part)                                                                                      \
        }                                                                                                              \
        return lost == lost ? total + lost : total;                                                                    \
    }
SUMS(float32, float)
SUMS(float64, double)

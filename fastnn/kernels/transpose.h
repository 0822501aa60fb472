/* A square of VL x VL numbers is transposed in registers: first whole 16-byte lanes, then the numbers within each. */
#ifndef FASTNN_TRANSPOSE_H
#define FASTNN_TRANSPOSE_H

#include "vector.h"

#if defined(__clang__) || __GNUC__ >= 12
#define SHUFFLE(a, b, ...) __builtin_shufflevector(a, b, __VA_ARGS__)
#else
#define SHUFFLE(a, b, ...) __builtin_shuffle(a, b, (vi){__VA_ARGS__})
#endif

/* HALF_*: the lower (upper) halves of a and b. EVEN_*, ODD_*: their even (odd) lanes. ZIP_*: per lane, the lower
 * (upper) numbers of a and b by turns. PAIR_*: the same with pairs of numbers.                                   */
#if VL == 16
#define HALF_LOW(a, b) SHUFFLE(a, b, 0, 1, 2, 3, 4, 5, 6, 7, 16, 17, 18, 19, 20, 21, 22, 23)
#define HALF_HIGH(a, b) SHUFFLE(a, b, 8, 9, 10, 11, 12, 13, 14, 15, 24, 25, 26, 27, 28, 29, 30, 31)
#define EVEN_LANES(a, b) SHUFFLE(a, b, 0, 1, 2, 3, 8, 9, 10, 11, 16, 17, 18, 19, 24, 25, 26, 27)
#define ODD_LANES(a, b) SHUFFLE(a, b, 4, 5, 6, 7, 12, 13, 14, 15, 20, 21, 22, 23, 28, 29, 30, 31)
#define ZIP_LOW(a, b) SHUFFLE(a, b, 0, 16, 1, 17, 4, 20, 5, 21, 8, 24, 9, 25, 12, 28, 13, 29)
#define ZIP_HIGH(a, b) SHUFFLE(a, b, 2, 18, 3, 19, 6, 22, 7, 23, 10, 26, 11, 27, 14, 30, 15, 31)
#define PAIR_LOW(a, b) SHUFFLE(a, b, 0, 1, 16, 17, 4, 5, 20, 21, 8, 9, 24, 25, 12, 13, 28, 29)
#define PAIR_HIGH(a, b) SHUFFLE(a, b, 2, 3, 18, 19, 6, 7, 22, 23, 10, 11, 26, 27, 14, 15, 30, 31)
#elif VL == 8 && REAL_BITS == 64
#define HALF_LOW(a, b) SHUFFLE(a, b, 0, 1, 2, 3, 8, 9, 10, 11)
#define HALF_HIGH(a, b) SHUFFLE(a, b, 4, 5, 6, 7, 12, 13, 14, 15)
#define EVEN_LANES(a, b) SHUFFLE(a, b, 0, 1, 4, 5, 8, 9, 12, 13)
#define ODD_LANES(a, b) SHUFFLE(a, b, 2, 3, 6, 7, 10, 11, 14, 15)
#define ZIP_LOW(a, b) SHUFFLE(a, b, 0, 8, 2, 10, 4, 12, 6, 14)
#define ZIP_HIGH(a, b) SHUFFLE(a, b, 1, 9, 3, 11, 5, 13, 7, 15)
#elif VL == 8
#define HALF_LOW(a, b) SHUFFLE(a, b, 0, 1, 2, 3, 8, 9, 10, 11)
#define HALF_HIGH(a, b) SHUFFLE(a, b, 4, 5, 6, 7, 12, 13, 14, 15)
#define ZIP_LOW(a, b) SHUFFLE(a, b, 0, 8, 1, 9, 4, 12, 5, 13)
#define ZIP_HIGH(a, b) SHUFFLE(a, b, 2, 10, 3, 11, 6, 14, 7, 15)
#define PAIR_LOW(a, b) SHUFFLE(a, b, 0, 1, 8, 9, 4, 5, 12, 13)
#define PAIR_HIGH(a, b) SHUFFLE(a, b, 2, 3, 10, 11, 6, 7, 14, 15)
#elif VL == 4 && VBYTES == 32
#define HALF_LOW(a, b) SHUFFLE(a, b, 0, 1, 4, 5)
#define HALF_HIGH(a, b) SHUFFLE(a, b, 2, 3, 6, 7)
#define ZIP_LOW(a, b) SHUFFLE(a, b, 0, 4, 2, 6)
#define ZIP_HIGH(a, b) SHUFFLE(a, b, 1, 5, 3, 7)
#elif VL == 4
#define ZIP_LOW(a, b) SHUFFLE(a, b, 0, 4, 1, 5)
#define ZIP_HIGH(a, b) SHUFFLE(a, b, 2, 6, 3, 7)
#define PAIR_LOW(a, b) SHUFFLE(a, b, 0, 1, 4, 5)
#define PAIR_HIGH(a, b) SHUFFLE(a, b, 2, 3, 6, 7)
#else
#define ZIP_LOW(a, b) SHUFFLE(a, b, 0, 2)
#define ZIP_HIGH(a, b) SHUFFLE(a, b, 1, 3)
#endif

/* Within each lane, x[i][j] of LANE vectors becomes x[j][i]; turn_lanes: the same for each LANE of VL vectors. */
VINLINE void turn_lane(vf x[LANE]) {
    vf low = ZIP_LOW(x[0], x[1]), high = ZIP_HIGH(x[0], x[1]);
#if REAL_BITS == 64
    x[0] = low;
    x[1] = high;
#else
    vf low2 = ZIP_LOW(x[2], x[3]), high2 = ZIP_HIGH(x[2], x[3]);
    x[0] = PAIR_LOW(low, low2);
    x[1] = PAIR_HIGH(low, low2);
    x[2] = PAIR_LOW(high, high2);
    x[3] = PAIR_HIGH(high, high2);
#endif
}
VINLINE void turn_lanes(vf x[VL]) {
    for (int i = 0; i < VL; i += LANE) turn_lane(x + i);
}

/* x[i][j] becomes x[j][i]. */
VINLINE void vtranspose(vf x[VL]) {
    vf y[VL];
#if VBYTES == 64 /* four lanes a vector: i counts within a lane, x[i + LANE * l] is the row of lane l */
    for (int i = 0; i < LANE; i++) {
        vf low = HALF_LOW(x[i], x[i + LANE]), high = HALF_HIGH(x[i], x[i + LANE]);
        vf low2 = HALF_LOW(x[i + 2 * LANE], x[i + 3 * LANE]), high2 = HALF_HIGH(x[i + 2 * LANE], x[i + 3 * LANE]);
        y[i] = EVEN_LANES(low, low2);
        y[i + LANE] = ODD_LANES(low, low2);
        y[i + 2 * LANE] = EVEN_LANES(high, high2);
        y[i + 3 * LANE] = ODD_LANES(high, high2);
    }
#elif VBYTES == 32
    for (int i = 0; i < LANE; i++) {
        y[i] = HALF_LOW(x[i], x[i + LANE]);
        y[i + LANE] = HALF_HIGH(x[i], x[i + LANE]);
    }
#else
    for (int i = 0; i < VL; i++) y[i] = x[i];
#endif
    turn_lanes(y);
    for (int i = 0; i < VL; i++) x[i] = y[i];
}

/* A vector whose lanes lie `apart` numbers from each other. Lanes are moved by loads, which a shuffle would cost more. */
VINLINE vf vload_lanes(const real *p, int64_t apart) {
#if LEVEL == 4 && REAL_BITS == 64
    __m256d low = _mm256_insertf128_pd(_mm256_castpd128_pd256(_mm_loadu_pd(p)), _mm_loadu_pd(p + apart), 1);
    p += 2 * apart;
    __m256d high = _mm256_insertf128_pd(_mm256_castpd128_pd256(_mm_loadu_pd(p)), _mm_loadu_pd(p + apart), 1);
    return _mm512_insertf64x4(_mm512_castpd256_pd512(low), high, 1);
#elif LEVEL == 4
    __m256 low = _mm256_insertf128_ps(_mm256_castps128_ps256(_mm_loadu_ps(p)), _mm_loadu_ps(p + apart), 1);
    p += 2 * apart;
    __m256 high = _mm256_insertf128_ps(_mm256_castps128_ps256(_mm_loadu_ps(p)), _mm_loadu_ps(p + apart), 1);
    return _mm512_insertf32x8(_mm512_castps256_ps512(low), high, 1);
#elif LEVEL == 3 && REAL_BITS == 64
    return _mm256_insertf128_pd(_mm256_castpd128_pd256(_mm_loadu_pd(p)), _mm_loadu_pd(p + apart), 1);
#elif LEVEL == 3
    return _mm256_insertf128_ps(_mm256_castps128_ps256(_mm_loadu_ps(p)), _mm_loadu_ps(p + apart), 1);
#else /* one lane */
    return vload(p);
#endif
}

/* x[i], and those whose numbers lie in the same rows of memory, are in registers from here on, and what is loaded
 * afterwards is loaded afterwards: the compiler would read part by part.                                           */
#if VBYTES == 64
#define ROWS_ARE_READ(x, i) \
    __asm__ volatile("" : "+v"((x)[i]), "+v"((x)[LANE + (i)]), "+v"((x)[2 * LANE + (i)]), "+v"((x)[3 * LANE + (i)]))
#elif VBYTES == 32
#define ROWS_ARE_READ(x, i) __asm__ volatile("" : "+v"((x)[i]), "+v"((x)[LANE + (i)]))
#else /* one part */
#define ROWS_ARE_READ(x, i) (void)0
#endif

/* x[i][j] = p[j * row + i]. All parts of a row are read one after the other: where rows lie 4096 bytes apart, they
 * share so few places in the cache that none stays there for long.                                                 */
VINLINE void vload_turned(vf x[VL], const real *p, int64_t row) {
    for (int i = 0; i < LANE; i++) {
        for (int part = 0; part < VL / LANE; part++) x[part * LANE + i] = vload_lanes(p + part * LANE, LANE * row);
        ROWS_ARE_READ(x, i);
        p += row;
        forget_origin(p);
    }
    turn_lanes(x);
}

/* Its first LANE vectors alone. */
VINLINE void vload_turned_lane(vf x[LANE], const real *p, int64_t row) {
    for (int i = 0; i < LANE; i++) {
        x[i] = vload_lanes(p, LANE * row);
        p += row;
        forget_origin(p);
    }
    turn_lane(x);
}

/* The same for LOW_VL rows, in the lower half of the lanes and in half the time where vectors go through in halves. */
#if LEVEL == 4
VINLINE void vload_turned_low(vf x[LANE], const real *p, int64_t row) {
    for (int i = 0; i < LANE; i++) {
#if REAL_BITS == 64
        x[i] = FROM_LOW(_mm256_insertf128_pd(_mm256_castpd128_pd256(_mm_loadu_pd(p)), _mm_loadu_pd(p + LANE * row), 1));
#else
        x[i] = FROM_LOW(_mm256_insertf128_ps(_mm256_castps128_ps256(_mm_loadu_ps(p)), _mm_loadu_ps(p + LANE * row), 1));
#endif
        p += row;
        forget_origin(p);
    }
    __typeof__(LOW(x[0])) low = V_LOW(unpacklo)(LOW(x[0]), LOW(x[1])), high = V_LOW(unpackhi)(LOW(x[0]), LOW(x[1]));
#if REAL_BITS == 64
    x[0] = FROM_LOW(low);
    x[1] = FROM_LOW(high);
#else
    __m256 low2 = _mm256_unpacklo_ps(LOW(x[2]), LOW(x[3])), high2 = _mm256_unpackhi_ps(LOW(x[2]), LOW(x[3]));
    x[0] = FROM_LOW(_mm256_shuffle_ps(low, low2, 0x44));
    x[1] = FROM_LOW(_mm256_shuffle_ps(low, low2, 0xee));
    x[2] = FROM_LOW(_mm256_shuffle_ps(high, high2, 0x44));
    x[3] = FROM_LOW(_mm256_shuffle_ps(high, high2, 0xee));
#endif
}
#else
#define vload_turned_low vload_turned_lane
#endif

/* vload_turned with `rows` rows, the last of which stands for those that are missing. */
VINLINE void vload_turned_part(vf x[VL], const real *p, int64_t row, int64_t rows) {
    for (int i = 0; i < VL; i++) {
        x[i] = vload(p);
        p += i + 1 < rows ? row : 0;
    }
    vtranspose(x);
}

/* A whole square from memory to memory: to[i, j] = x[j, i], rows contiguous in both. Never inlined: among the loops of
 * its callers the compiler runs out of registers.                                                                 */
static __attribute__((noinline)) void transpose_square(real *to, int64_t to_row, const real *x, int64_t x_row) {
    vf square[VL];
    vload_turned(square, x, x_row);
    for (int i = 0; i < VL; i++) vstore(to + i * to_row, square[i]);
}

/* Its part of `rows` rows and `columns` columns, neither more than VL. */
static __attribute__((noinline)) void transpose_part(real *to, int64_t to_row, const real *x, int64_t x_row,
                                                     int64_t rows, int64_t columns) {
    vf square[VL];
    for (int i = 0; i < VL; i++) square[i] = vsplat(0);
    for (int64_t i = 0; i < columns; i++) square[i] = vload_part(x + i * x_row, rows);
    vtranspose(square);
    for (int64_t i = 0; i < rows; i++) vstore_part(to + i * to_row, square[i], columns);
}

#endif

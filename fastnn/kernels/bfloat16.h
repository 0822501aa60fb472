/* bfloat16: the upper half of a float, 8 significant bits and all of its exponents, rounded to the nearest and, in the
 * middle between two, to the even one. A processor with AVX512_BF16 multiplies numbers in pairs: a word of 32 bits holds
 * two steps of a row or a column, and c + x[0] b[0] + x[1] b[1] is one instruction. It adds the upper halves' product
 * first (Intel SDM, VDPBF16PS), rounding after each, as two fused multiply-adds of float32 would, but takes denormal
 * numbers for zeros, sums among them; a product of two such numbers is exact. So the earlier step goes into the upper
 * half, and the sum is that of the rounded numbers in the one order of arithmetic, bit for bit.                      */
#ifndef FASTNN_BFLOAT16_H
#define FASTNN_BFLOAT16_H

#include "vector.h"

typedef uint32_t word __attribute__((may_alias));

/* The bits of x as a float, rounded; the lower half is to be ignored. NaN stays NaN. */
VINLINE uint32_t upper_half(real x) {
    float f = (float)x;
    uint32_t bits;
    __builtin_memcpy(&bits, &f, sizeof bits);
    return f == f ? bits + 0x7fff + (bits >> 16 & 1) : bits | 0x400000;
}

VINLINE uint32_t paired(real first, real second) { return (upper_half(first) & 0xffff0000) | upper_half(second) >> 16; }

/* to[i] = x[i * stride], rounded. */
static void round_run(real *to, const real *x, int64_t stride, int64_t n) {
    for (int64_t i = 0; i < n; i++) {
        uint32_t bits = upper_half(x[i * stride]) & 0xffff0000;
        float f;
        __builtin_memcpy(&f, &bits, sizeof f);
        to[i] = f;
    }
}

/* n steps of a row of a, in pairs. The last one may be alone: -0 beside it, times the 0 in b, adds nothing to any sum. */
static void pair_steps(real *to, const real *x, int64_t stride, int64_t n) {
    word *words = (word *)to;
    for (int64_t i = 0; i < n / 2; i++) words[i] = paired(x[2 * i * stride], x[(2 * i + 1) * stride]);
    if (n % 2) words[n / 2] = paired(x[(n - 1) * stride], (real)-0.0);
}

/* Two steps of n columns of b, in pairs; y is NULL if there is no second one. */
static void pair_rows(real *to, const real *x, const real *y, int64_t n) {
    word *words = (word *)to;
    for (int64_t j = 0; j < n; j++) words[j] = paired(x[j], y ? y[j] : (real)0.0);
}

/* c + a b of the pairs in each lane; only where the processor has that instruction. */
#define HAS_PAIRS (LEVEL == 4 && REAL_BITS == 32)
#if HAS_PAIRS
VINLINE vf vpairs(vf a, vf b, vf c) {
    __asm__("vdpbf16ps %2, %1, %0" : "+v"(c) : "v"(a), "v"(b));
    return c;
}
#else
#define vpairs vfma
#endif

/* A pair in each lane. As a float it may be a signalling NaN, so it is never taken for one. */
VINLINE vf vsplat_pair(const real *pair) { return (vf)((vi){0} + (ireal) * (const word *)pair); }

#endif

/* One vector type, `vf`, of VBYTES bytes, and the few operations on it that C's operators do not give.
 *
 * Arithmetic on vf and vi (its integer twin) is written with +, -, *, / and, for vi, &, |, ^, ~, << and >>. A fused
 * multiply-add happens only where `vfma` says so: contraction is off. Without FMA hardware vfma rounds twice, and the
 * reference does the same.                                                                                          */
#ifndef FASTNN_VECTOR_H
#define FASTNN_VECTOR_H

#include <stdint.h>
#include "tiles.h"
#if LEVEL >= 2
#include <immintrin.h>
#endif

/* Micro-kernels are specialised by passing constants to an inline function, so `inline` has to mean it. */
#undef CYTHON_INLINE
#define CYTHON_INLINE inline __attribute__((always_inline))

#if REAL_BITS == 64
typedef double real;
typedef int64_t ireal;
typedef uint64_t ureal;
#define REAL_IS_DOUBLE 1
#define MANTISSA_BITS 52
#define EXPONENT_BIAS 1023
#define REAL_FMA __builtin_fma
#define REAL_SQRT __builtin_sqrt
#define REAL_MIN __DBL_MIN__
#define VMASK __mmask8
#else
typedef float real;
typedef int32_t ireal;
typedef uint32_t ureal;
#define REAL_IS_DOUBLE 0
#define MANTISSA_BITS 23
#define EXPONENT_BIAS 127
#define REAL_FMA __builtin_fmaf
#define REAL_SQRT __builtin_sqrtf
#define REAL_MIN __FLT_MIN__
#define VMASK __mmask16
#endif

typedef real vf __attribute__((vector_size(VBYTES)));
typedef ireal vi __attribute__((vector_size(VBYTES)));
typedef ureal vu __attribute__((vector_size(VBYTES)));
typedef real vf_unaligned __attribute__((vector_size(VBYTES), aligned(REAL_BITS / 8), may_alias));

/* V(add) is the intrinsic of that name for vf. */
#define JOIN(prefix, name, type) prefix##name##type
#define INTRINSIC(prefix, name, type) JOIN(prefix, name, type)
#define V(name) INTRINSIC(V_PREFIX, name, V_TYPE)
#if REAL_IS_DOUBLE
#define V_TYPE _pd
#else
#define V_TYPE _ps
#endif
#if LEVEL == 4
#define V_PREFIX _mm512_
#elif LEVEL == 3
#define V_PREFIX _mm256_
#elif LEVEL == 2
#define V_PREFIX _mm_
#endif

#if LEVEL >= 3 || (LEVEL == 0 && (defined(__FP_FAST_FMAF) || defined(__aarch64__)))
#define HAS_FMA 1
#else
#define HAS_FMA 0
#endif
#define VINLINE static inline __attribute__((always_inline))

VINLINE vf vload(const real *p) { return (vf)*(const vf_unaligned *)p; }
/* A load by itself, whose result stays in a register. Left alone, the compiler would load once more for every other use,
 * since instructions take operands from memory; and what is selected from would become a masked load, which waits for
 * its mask: two arrays that both come from memory would come one after the other.                                   */
#if LEVEL >= 2
VINLINE vf vload_once(const real *p) {
    vf x = vload(p);
    __asm__("" : "+v"(x));
    return x;
}
#else
#define vload_once vload
#endif
VINLINE void vprefetch(const real *p) { __builtin_prefetch(p); }
VINLINE void vprefetch_near(const real *p) { __builtin_prefetch(p, 0, 2); } /* into the second-level cache */
/* From here on, the compiler does not know what p was made from, and keeps it in a register of its own. */
#define forget_origin(p) __asm__("" : "+r"(p))
VINLINE void vstore(real *p, vf x) { *(vf_unaligned *)p = x; }
/* Stores that go past the caches to memory: p is a multiple of a vector's bytes. Other threads see them once they are
 * flushed.                                                                                                          */
#if LEVEL >= 2
VINLINE void vstore_past(real *p, vf x) { V(stream)(p, x); }
VINLINE void vflush_past(void) { _mm_sfence(); }
#else
#define vstore_past vstore
VINLINE void vflush_past(void) {}
#endif
VINLINE vf vsplat(real x) { return x - (vf){0}; } /* x - 0 is x for every x, -0 included */
VINLINE vi vbits(vf x) { return (vi)x; }
VINLINE vf vfrombits(vi x) { return (vf)x; }
VINLINE vi vshift_right(vi x, int n) { return (vi)((vu)x >> n); } /* zeros move in; >> itself copies the sign */
VINLINE vi vless(vf a, vf b) { return a < b; } /* all ones where true; false where either is NaN */
VINLINE vi vless_equal(vf a, vf b) { return a <= b; }
VINLINE vi vequal(vf a, vf b) { return a == b; }
#if LEVEL == 3 || LEVEL == 2
VINLINE vf vselect(vi mask, vf a, vf b) { return V(blendv)(b, a, (vf)mask); }
#else
VINLINE vf vselect(vi mask, vf a, vf b) { return (vf)((mask & (vi)a) | (~mask & (vi)b)); }
#endif
/* a where x has a sign, -0 included, b elsewhere: the sign is the mask. */
#if LEVEL == 4 && REAL_IS_DOUBLE
VINLINE vf vselect_signed(vf x, vf a, vf b) { return _mm512_mask_blend_pd(_mm512_movepi64_mask((__m512i)x), b, a); }
#elif LEVEL == 4
VINLINE vf vselect_signed(vf x, vf a, vf b) { return _mm512_mask_blend_ps(_mm512_movepi32_mask((__m512i)x), b, a); }
#elif LEVEL >= 2
VINLINE vf vselect_signed(vf x, vf a, vf b) { return V(blendv)(b, a, x); }
#else
VINLINE vf vselect_signed(vf x, vf a, vf b) { return vselect((vi)x < (vi){0}, a, b); }
#endif
/* Whether any lane of a mask is set. */
VINLINE int vany(vi mask) {
#if LEVEL == 4
    return _mm512_test_epi32_mask((__m512i)mask, (__m512i)mask) != 0;
#elif LEVEL == 3
    return !_mm256_testz_si256((__m256i)mask, (__m256i)mask);
#elif LEVEL == 2
    return !_mm_testz_si128((__m128i)mask, (__m128i)mask);
#else
    for (int i = 0; i < VL; i++)
        if (mask[i]) return 1;
    return 0;
#endif
}
VINLINE vf vabs(vf x) { return (vf)((vi)x & ~(vi)vsplat((real)-0.0)); }
VINLINE vf vminus_abs(vf x) { return (vf)((vi)x | (vi)vsplat((real)-0.0)); } /* -|x| */
/* 0 for denormal numbers. */
VINLINE vf vnormal(vf x) { return vselect(vless(vabs(x), vsplat(REAL_MIN)), vsplat(0), x); }
#if LEVEL == 4 /* of the first vector's bits, those set take the second's, the others the third's */
VINLINE vf vcopysign(vf x, vf sign) {
    return (vf)_mm512_ternarylogic_epi32((__m512i)vsplat((real)-0.0), (__m512i)sign, (__m512i)x, 0xCA);
}
#else
VINLINE vf vcopysign(vf x, vf sign) { return (vf)((vi)vabs(x) | ((vi)sign & (vi)vsplat((real)-0.0))); }
#endif
/* a > b ? a : b, so the second where either is NaN: write vmax(constant, x) to let NaN through. */
#if LEVEL >= 2
VINLINE vf vmax(vf a, vf b) { return V(max)(a, b); }
VINLINE vf vmin(vf a, vf b) { return V(min)(a, b); }
VINLINE vf vsqrt(vf x) { return V(sqrt)(x); }
#else
VINLINE vf vmax(vf a, vf b) { return vselect(b < a, a, b); }
VINLINE vf vmin(vf a, vf b) { return vselect(a < b, a, b); }
VINLINE vf vsqrt(vf x) {
    vf r;
    for (int i = 0; i < VL; i++) r[i] = REAL_SQRT(x[i]);
    return r;
}
#endif

#if LEVEL >= 3
/* The first n numbers of 32 bytes, but not all, in stores of 16, 8 and 4 bytes. */
#if REAL_IS_DOUBLE
VINLINE void store_pieces(double *p, __m256d x, int64_t n) {
    __m128d part = _mm256_castpd256_pd128(x);
    if (n & 2) {
        _mm_storeu_pd(p, part);
        part = _mm256_extractf128_pd(x, 1);
    }
    if (n & 1) _mm_store_sd(p + (n & 2), part);
}
#else
VINLINE void store_pieces(float *p, __m256 x, int64_t n) {
    __m128 part = _mm256_castps256_ps128(x);
    if (n & 4) {
        _mm_storeu_ps(p, part);
        part = _mm256_extractf128_ps(x, 1);
    }
    if (n & 2) {
        _mm_storel_pi((__m64 *)(p + (n & 4)), part);
        part = _mm_movehl_ps(part, part);
    }
    if (n & 1) _mm_store_ss(p + (n & 6), part);
}
#endif
#endif
#if LEVEL == 4
VINLINE vf vfma(vf a, vf b, vf c) { return V(fmadd)(a, b, c); }
VINLINE vf vload_part(const real *p, int64_t n) { return V(maskz_loadu)((VMASK)((1u << n) - 1), p); }
VINLINE void vstore_part(real *p, vf x, int64_t n) { V(mask_storeu)(p, (VMASK)((1u << n) - 1), x); }
#elif LEVEL == 3
VINLINE vf vfma(vf a, vf b, vf c) { return V(fmadd)(a, b, c); }
static const ireal vector_mask[2 * VL] = {
#if REAL_IS_DOUBLE
    -1, -1, -1, -1
#else
    -1, -1, -1, -1, -1, -1, -1, -1
#endif
}; /* VL set lanes, then VL clear ones: the mask for n lanes starts at VL - n */
VINLINE vf vload_part(const real *p, int64_t n) {
    return V(maskload)(p, _mm256_loadu_si256((const __m256i *)(vector_mask + VL - n)));
}
/* In pieces: the masked store of this level takes many cycles on some processors. */
VINLINE void vstore_part(real *p, vf x, int64_t n) {
    if (n >= VL)
        vstore(p, x);
    else
        store_pieces(p, x, n);
}
#else
VINLINE vf vfma(vf a, vf b, vf c) {
#if HAS_FMA
    vf r;
    for (int i = 0; i < VL; i++) r[i] = REAL_FMA(a[i], b[i], c[i]);
    return r;
#else
    return a * b + c;
#endif
}
#if VL <= 4
VINLINE vf vload_part(const real *p, int64_t n) {
    if (n >= VL) return vload(p);
#if VL == 4
    if (n == 3) return (vf){p[0], p[1], p[2], 0};
    if (n == 2) return (vf){p[0], p[1], 0, 0};
#endif
    return n > 0 ? (vf){p[0]} : (vf){0};
}
#else
VINLINE vf vload_part(const real *p, int64_t n) {
    vf r = {0};
    for (int64_t i = 0; i < n; i++) r[i] = p[i];
    return r;
}
#endif
VINLINE void vstore_part(real *p, vf x, int64_t n) {
    for (int64_t i = 0; i < n; i++) p[i] = x[i];
}
#endif

/* The last n lanes alone, to where vstore would put them. */
#if LEVEL == 4
VINLINE void vstore_last(real *p, vf x, int64_t n) { V(mask_storeu)(p, (VMASK)(~0u << (VL - n)), x); }
#else
VINLINE void vstore_last(real *p, vf x, int64_t n) {
    for (int64_t i = VL - n; i < VL; i++) p[i] = x[i];
}
#endif

/* What follows works on the lower half of the lanes alone, in half a vector's time where vectors go through in halves;
 * the others may then hold anything.                                                                                */
#if LEVEL == 4
#if REAL_IS_DOUBLE
#define LOW(x) _mm512_castpd512_pd256(x)
#define FROM_LOW(x) _mm512_castpd256_pd512(x)
#else
#define LOW(x) _mm512_castps512_ps256(x)
#define FROM_LOW(x) _mm512_castps256_ps512(x)
#endif
#define V_LOW(name) INTRINSIC(_mm256_, name, V_TYPE)
VINLINE vf vfma_low(vf a, vf b, vf c) { return FROM_LOW(V_LOW(fmadd)(LOW(a), LOW(b), LOW(c))); }
VINLINE vf vsplat_low(real x) { return FROM_LOW(V_LOW(set1)(x)); }
VINLINE vf vload_low(const real *p) { return FROM_LOW(V_LOW(loadu)(p)); }
VINLINE void vstore_low(real *p, vf x) { V_LOW(storeu)(p, LOW(x)); }
VINLINE vf vload_low_part(const real *p, int64_t n) {
    return FROM_LOW(V_LOW(maskz_loadu)((__mmask8)((1u << n) - 1), p));
}
#else
#define vfma_low vfma
#define vsplat_low vsplat
#define vload_low vload
#define vstore_low vstore
#define vload_low_part vload_part
#endif

/* n elements, in loads of just their size where there are such, and in stores that together cover just them. A masked
 * one counts as a whole vector when the processor looks for earlier stores that a load has to wait for: a short row
 * would wait for the row before it.                                                                                 */
#if LEVEL == 4
#if REAL_IS_DOUBLE
#define QUARTER(x) _mm512_castpd512_pd128(x)
#define FROM_QUARTER(x) _mm512_zextpd128_pd512(x)
#define FROM_HALF(x) _mm512_zextpd256_pd512(x)
#define UPPER_HALF(x) _mm512_extractf64x4_pd(x, 1)
#else
#define QUARTER(x) _mm512_castps512_ps128(x)
#define FROM_QUARTER(x) _mm512_zextps128_ps512(x)
#define FROM_HALF(x) _mm512_zextps256_ps512(x)
#define UPPER_HALF(x) _mm512_extractf32x8_ps(x, 1)
#endif
#define V_QUARTER(name) INTRINSIC(_mm_, name, V_TYPE)
VINLINE vf vload_exactly(const real *p, int64_t n) {
    switch (n * (REAL_BITS / 8)) {
    case 8: return (vf)_mm512_zextsi128_si512(_mm_loadl_epi64((const __m128i *)p));
    case 16: return FROM_QUARTER(V_QUARTER(loadu)(p));
    case 32: return FROM_HALF(V_LOW(loadu)(p));
    case 64: return vload(p);
    default: return vload_part(p, n);
    }
}
VINLINE void vstore_exactly(real *p, vf x, int64_t n) {
    switch (n * (REAL_BITS / 8)) {
    case 8: _mm_storel_epi64((__m128i *)p, _mm512_castsi512_si128((__m512i)x)); break;
    case 16: V_QUARTER(storeu)(p, QUARTER(x)); break;
    case 32: V_LOW(storeu)(p, LOW(x)); break;
    case 64: vstore(p, x); break;
    default:
        if (n > LOW_VL) {
            V_LOW(storeu)(p, LOW(x));
            store_pieces(p + LOW_VL, UPPER_HALF(x), n - LOW_VL);
        } else {
            store_pieces(p, LOW(x), n);
        }
    }
}
#else
#define vload_exactly vload_part
VINLINE void vstore_exactly(real *p, vf x, int64_t n) {
    if (n >= VL)
        vstore(p, x);
    else
        vstore_part(p, x, n);
}
#endif

/* Adding this to a number of small magnitude rounds it to a whole one; it then stands in the low bits of the sum, with
 * the exponent's bias added.                                                                                        */
#define ROUNDER ((real)(1.5 * ((int64_t)1 << MANTISSA_BITS) + EXPONENT_BIAS))
/* 2^n from n + ROUNDER: the low bits are the exponent field, and the shift drops all others. */
VINLINE vf vpower_of_two(vf shifted) { return (vf)((vu)shifted << MANTISSA_BITS); }
/* y 2^n for a whole n, rounded once; vscale_down: for n <= 0. */
#if REAL_IS_DOUBLE
#define RAISED 512 /* by so many powers of two a small 2^n becomes a usual number, ... */
#define LOWERED 0x1p-512 /* ... and by this small again */
#else
#define RAISED 64
#define LOWERED 0x1p-64
#endif
#if LEVEL == 4
VINLINE vf vscale(vf y, vf n) { return V(scalef)(y, n); }
VINLINE vf vscale_down(vf y, vf n) { return V(scalef)(y, n); }
#else
VINLINE vf vscale(vf y, vf n) { /* in two steps: 2^n itself may be too large or too small to be a number */
    vf half = vfma(n, vsplat((real)0.5), vsplat(ROUNDER));
    return y * vpower_of_two(half) * vpower_of_two(n - (half - vsplat(ROUNDER)) + vsplat(ROUNDER));
}
VINLINE vf vscale_down(vf y, vf n) {
    return y * vpower_of_two(n + vsplat(ROUNDER + RAISED)) * vsplat((real)LOWERED);
}
#endif

/* Lane i + by of x in lane i (the first lanes come round at the end); lanes 0 ... n - 1 as a mask; and lane 0 alone. */
VINLINE vi vnumbers(void) {
    vi r;
    for (int i = 0; i < VL; i++) r[i] = i;
    return r;
}
VINLINE vf vdown(vf x, int by) {
#if defined(__clang__)
    vf r;
    for (int i = 0; i < VL; i++) r[i] = x[(i + by) % VL];
    return r;
#else
    return __builtin_shuffle(x, (vnumbers() + by) & (VL - 1));
#endif
}
VINLINE vi vleading(int64_t n) { return vnumbers() < (vi){0} + (ireal)n; }
VINLINE real vlane0(vf x) { return x[0]; }

/* The same multiply-add for one number, as the vectors do it at this level. */
VINLINE real rfma(real a, real b, real c) {
#if HAS_FMA
    return REAL_FMA(a, b, c);
#else
    return a * b + c;
#endif
}

#endif

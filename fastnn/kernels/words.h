/* Vectors of unsigned 64-bit words, `vw`, and what Philox needs of them that C's operators do not give. */
#ifndef FASTNN_WORDS_H
#define FASTNN_WORDS_H

#include "vector.h"

enum { WORD_LANES = VBYTES / 8 };

typedef uint64_t vw __attribute__((vector_size(VBYTES)));
typedef uint64_t vw_unaligned __attribute__((vector_size(VBYTES), aligned(4), may_alias));

VINLINE vw vwords(uint64_t x) { return x - (vw){0}; }
VINLINE void vstore_words(uint32_t *p, vw x) { *(vw_unaligned *)p = x; }

/* Of VL words in memory: all ones in the lanes of those that are at least `threshold`. */
typedef uint32_t word_for_lane __attribute__((vector_size(4 * VL), aligned(4), may_alias));
VINLINE vi vwords_reach(const uint32_t *words, uint32_t threshold) {
    return __builtin_convertvector(*(const word_for_lane *)words, vu) >= (ureal)threshold;
}

/* vmul32: the product of each lane's low half with the other's, 32 x 32 -> 64 bits.
 * vpairs_even, vpairs_odd: the even (odd) lanes of a, each followed by the same lane of b.
 * vpaired_lanes: numbers for the lanes such that vpairs_even brings out 0, 1, 2, ... and vpairs_odd the rest.     */
#if VBYTES == 64 && LEVEL == 4
VINLINE vw vmul32(vw a, vw b) { return (vw)_mm512_mul_epu32((__m512i)a, (__m512i)b); }
VINLINE vw vpairs_even(vw a, vw b) { return (vw)_mm512_unpacklo_epi64((__m512i)a, (__m512i)b); }
VINLINE vw vpairs_odd(vw a, vw b) { return (vw)_mm512_unpackhi_epi64((__m512i)a, (__m512i)b); }
VINLINE vw vpaired_lanes(void) { return (vw){0, 4, 1, 5, 2, 6, 3, 7}; }
#elif VBYTES == 32 && LEVEL == 3
VINLINE vw vmul32(vw a, vw b) { return (vw)_mm256_mul_epu32((__m256i)a, (__m256i)b); }
VINLINE vw vpairs_even(vw a, vw b) { return (vw)_mm256_unpacklo_epi64((__m256i)a, (__m256i)b); }
VINLINE vw vpairs_odd(vw a, vw b) { return (vw)_mm256_unpackhi_epi64((__m256i)a, (__m256i)b); }
VINLINE vw vpaired_lanes(void) { return (vw){0, 2, 1, 3}; }
#elif VBYTES == 16
#if LEVEL == 2
VINLINE vw vmul32(vw a, vw b) { return (vw)_mm_mul_epu32((__m128i)a, (__m128i)b); }
#else
VINLINE vw vmul32(vw a, vw b) { return (a & 0xffffffff) * (b & 0xffffffff); }
#endif
VINLINE vw vpairs_even(vw a, vw b) { return (vw){a[0], b[0]}; }
VINLINE vw vpairs_odd(vw a, vw b) { return (vw){a[1], b[1]}; }
VINLINE vw vpaired_lanes(void) { return (vw){0, 1}; }
#else
#error "no word vectors for this level's width"
#endif

#endif

"""What this processor can run, asked of the processor itself. Built with baseline flags: safe to import anywhere."""

cdef extern from *:
    """
    #if defined(__x86_64__)
    #include <cpuid.h>
    #include <stdint.h>

    /* The highest x86-64 level (psABI) that the processor has and the operating system saves: 1 to 4. An instruction
     * set counts only if XCR0 says that its registers survive a context switch. */
    static int x86_level(void) {
        unsigned a, b, c, d, b7, extended_c;
        if (!__get_cpuid(1, &a, &b, &c, &d)) return 1;
        const unsigned v2 = 1u << 0 | 1u << 9 | 1u << 13 | 1u << 19 | 1u << 20 | 1u << 23; /* sse3 ... popcnt */
        if ((c & v2) != v2) return 1;
        const unsigned v3 = 1u << 12 | 1u << 22 | 1u << 27 | 1u << 28 | 1u << 29; /* fma movbe osxsave avx f16c */
        if ((c & v3) != v3) return 2;
        uint32_t xcr0, high;
        __asm__ volatile("xgetbv" : "=a"(xcr0), "=d"(high) : "c"(0));
        if ((xcr0 & 0x6) != 0x6) return 2;
        if (!__get_cpuid_count(7, 0, &a, &b7, &c, &d)) return 2;
        const unsigned v3_7 = 1u << 3 | 1u << 5 | 1u << 8; /* bmi1 avx2 bmi2 */
        if ((b7 & v3_7) != v3_7) return 2;
        if (!__get_cpuid(0x80000001, &a, &b, &extended_c, &d) || !(extended_c & 1u << 5)) return 2; /* lzcnt */
        const unsigned v4 = 1u << 16 | 1u << 17 | 1u << 28 | 1u << 30 | 1u << 31; /* avx512 f dq cd bw vl */
        return (b7 & v4) == v4 && (xcr0 & 0xe6) == 0xe6 ? 4 : 3;
    }

    /* 1 if it multiplies pairs of bfloat16 numbers (AVX512_BF16). */
    static int x86_bfloat16(void) {
        unsigned a, b, c, d;
        return x86_level() == 4 && __get_cpuid_count(7, 1, &a, &b, &c, &d) && (a & 1u << 5);
    }

    /* 1 for AMD's processors. */
    static int is_amd(void) {
        unsigned a, b, c, d;
        return __get_cpuid(0, &a, &b, &c, &d) && b == 0x68747541; /* "Auth" of AuthenticAMD */
    }

    /* Family as the maker counts it: 25 is Zen 3 and 4, 26 Zen 5. */
    static int x86_family(void) {
        unsigned a, b, c, d;
        if (!__get_cpuid(1, &a, &b, &c, &d)) return 0;
        return (int)((a >> 8 & 15) + ((a >> 8 & 15) == 15 ? a >> 20 & 255 : 0));
    }
    #else
    static int x86_level(void) { return 0; }
    static int x86_bfloat16(void) { return 0; }
    static int is_amd(void) { return 0; }
    static int x86_family(void) { return 0; }
    #endif
    """
    int x86_level()
    bint x86_bfloat16()
    bint is_amd()
    int x86_family()


def level() -> int:
    """The highest x86-64 level this machine can run, 1 to 4; 0 on other processors."""
    return x86_level()


def has_bfloat16() -> bool:
    """Whether it multiplies pairs of bfloat16 numbers in one instruction (AVX512_BF16)."""
    return x86_bfloat16()


def halves_vectors() -> bool:
    """Whether vectors of 64 bytes go through its units in two halves (Zen 4): a store of one takes two cycles."""
    return is_amd() and x86_family() == 25


def reads_before_storing() -> bool:
    """Whether a store that misses the caches reads its line first, even if all of it is stored: AMD's family 25, Zen 3
    and 4, of which it was measured on Zen 4. Intel's processors and Zen 5 did not."""
    return is_amd() and x86_family() == 25


def has_near_l3() -> bool:
    """Whether some cores have a third-level cache to themselves (AMD's), which is nearer than one that all share."""
    return is_amd()

# Counter-based random numbers, Philox4x32-10 (Salmon, Moraes, Dror and Shaw 2011), and dropout.
#
# A block of four words depends on (seed, operation, step, number of the block) alone: element i has word i % 4 of block
# i / 4. So there is no state to keep, any thread can start anywhere, and a mask is drawn again instead of being stored.

cdef extern from "words.h":
    ctypedef int vw  # to Cython a number, as vf is: see vector.pxi
    enum: WORD_LANES
    vw vwords(uint64_t x) noexcept nogil
    vw vmul32(vw a, vw b) noexcept nogil
    vw vpairs_even(vw a, vw b) noexcept nogil
    vw vpairs_odd(vw a, vw b) noexcept nogil
    vw vpaired_lanes() noexcept nogil
    void vstore_words(uint32_t *p, vw x) noexcept nogil

cdef enum:
    PHILOX_ROUNDS = 10
    RANDOM_CHUNK = 512  # words drawn at a time, into the first-level cache

cdef struct Philox:
    uint64_t key[PHILOX_ROUNDS][2]
    uint64_t operation, step


cdef inline void philox_start(Philox *stream, uint64_t seed, uint64_t operation, uint64_t step) noexcept nogil:
    """Round keys from the seed; (operation, step) are the counter's upper two words."""
    cdef uint32_t low = <uint32_t> seed, high = <uint32_t> (seed >> 32)
    cdef int i
    for i in range(PHILOX_ROUNDS):
        stream.key[i][0], stream.key[i][1] = low, high
        low += <uint32_t> 0x9E3779B9
        high += <uint32_t> 0xBB67AE85
    stream.operation, stream.step = <uint32_t> operation, <uint32_t> step


cdef inline void philox_words(const Philox *stream, uint64_t block, int64_t n, uint32_t *words) noexcept nogil:
    """Words of the blocks from `block` on: n of them, rounded up to a whole number of 4 * WORD_LANES.

    Each word of a counter has a vector of its own, in the low halves of 64-bit lanes; what the upper halves hold never
    reaches a result. Even lanes hold the first half of the blocks and odd lanes the second, so that pairing lanes at
    the end brings the words into their order.
    """
    cdef vw multiplier0 = vwords(0xD2511F53), multiplier1 = vwords(0xCD9E8D57), half = vwords(0xFFFFFFFF)
    cdef vw word = vwords(32)
    cdef vw blocks = vwords(block) + vpaired_lanes(), a, b, c, d, product0, product1
    cdef int64_t i = 0
    cdef int turn
    while i < n:
        a, b, c, d = blocks, blocks >> word, vwords(stream.operation), vwords(stream.step)
        for turn in range(PHILOX_ROUNDS):
            product0 = vmul32(multiplier0, a)
            product1 = vmul32(multiplier1, c)
            a = (product1 >> word) ^ b ^ vwords(stream.key[turn][0])
            c = (product0 >> word) ^ d ^ vwords(stream.key[turn][1])
            b, d = product1, product0
        a = (a & half) | (b << word)
        c = (c & half) | (d << word)
        vstore_words(words + i, vpairs_even(a, c))
        vstore_words(words + i + 2 * WORD_LANES, vpairs_odd(a, c))
        blocks = blocks + vwords(WORD_LANES)
        i += 4 * WORD_LANES


cdef int dropout(const Instruction *instruction, int thread, int n_threads) noexcept nogil:
    """y = x * scale where the element's word reaches the threshold, else 0 (whatever x is: NaN is dropped too).

    Operands: y; x. Integers: column of the step number, seed, operation, threshold. Numbers: scale.
    """
    cdef const Operand *y = &instruction.operand[0]
    cdef const Operand *x = &instruction.operand[1]
    cdef uint32_t threshold = <uint32_t> instruction.integer[3]
    cdef real scale = <real> instruction.number[0]
    cdef uint32_t words[RANDOM_CHUNK]
    cdef real from_x[RANDOM_CHUNK]
    cdef real to_y[RANDOM_CHUNK]
    cdef bint in_place = is_contiguous(y)
    cdef const real *source
    cdef real *target
    cdef Philox stream
    cdef int64_t first, last, i, n
    philox_start(&stream, instruction.integer[1], instruction.integer[2],
                 <uint64_t> instruction.run[instruction.integer[0]])
    share(count(y), RANDOM_CHUNK, thread, n_threads, &first, &last)
    while first < last:
        n = min(RANDOM_CHUNK, last - first)
        philox_words(&stream, first // 4, n, words)
        source = read_span(x, first, n, from_x)
        target = <real *> y.data + first if in_place else to_y
        for i in range(n):
            target[i] = source[i] * scale if words[i] >= threshold else <real> 0
        write_span(y, first, n, target)
        first += n
    return KERNEL_OK

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
    vi vwords_reach(const uint32_t *words, uint32_t threshold) noexcept nogil

cdef enum:
    PHILOX_ROUNDS = 10
    SIDES = 2  # vectors of blocks drawn together
    WORDS_TOGETHER = 4 * SIDES * WORD_LANES

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


cdef inline void philox_words(const Philox *stream, vw blocks, uint32_t *words) noexcept nogil:
    """WORDS_TOGETHER words: of the blocks whose numbers stand in `blocks`, in the order of vpaired_lanes, and the next.

    Each word of a counter has a vector of its own, in the low halves of 64-bit lanes; what the upper halves hold never
    reaches a result. Even lanes hold the first half of the blocks and odd lanes the second, so that pairing lanes at
    the end brings the words into their order. Rounds wait for each other: therefore SIDES vectors go side by side.
    """
    cdef vw multiplier0 = vwords(0xD2511F53), multiplier1 = vwords(0xCD9E8D57), half = vwords(0xFFFFFFFF)
    cdef vw word = vwords(32), product0, product1
    cdef vw a[SIDES]
    cdef vw b[SIDES]
    cdef vw c[SIDES]
    cdef vw d[SIDES]
    cdef int turn, i
    for i in range(SIDES):
        a[i] = blocks + vwords(i * WORD_LANES)
        b[i], c[i], d[i] = a[i] >> word, vwords(stream.operation), vwords(stream.step)
    for turn in range(PHILOX_ROUNDS):
        for i in range(SIDES):
            product0 = vmul32(multiplier0, a[i])
            product1 = vmul32(multiplier1, c[i])
            a[i] = (product1 >> word) ^ b[i] ^ vwords(stream.key[turn][0])
            c[i] = (product0 >> word) ^ d[i] ^ vwords(stream.key[turn][1])
            b[i], d[i] = product1, product0
    for i in range(SIDES):
        a[i] = (a[i] & half) | (b[i] << word)
        c[i] = (c[i] & half) | (d[i] << word)
        vstore_words(words + 4 * i * WORD_LANES, vpairs_even(a[i], c[i]))
        vstore_words(words + (4 * i + 2) * WORD_LANES, vpairs_odd(a[i], c[i]))


cdef inline vf kept_or_zero(vf x, vf scale, const uint32_t *words, uint32_t threshold) noexcept nogil:
    """x * scale where the lane's word reaches the threshold, else 0."""
    return vfrombits(vbits(x * scale) & vwords_reach(words, threshold))


cdef void drop_run(const Philox *stream, uint64_t block, real *y, const real *x, int64_t n, uint32_t threshold,
                   vf scale) noexcept nogil:
    """Dropout of n elements, whose words are those of `block` and the blocks after it. Each few words are used at once,
    so that memory is read and written while the next ones are drawn."""
    cdef uint32_t words[WORDS_TOGETHER]
    cdef vw blocks = vwords(block) + vpaired_lanes()
    cdef int64_t i = 0, j
    cdef vf value
    while i + WORDS_TOGETHER <= n:
        philox_words(stream, blocks, words)
        for j in range(WORDS_TOGETHER // VL):
            vstore(y + i + j * VL, kept_or_zero(vload(x + i + j * VL), scale, words + j * VL, threshold))
        blocks = blocks + vwords(WORDS_TOGETHER // 4)
        i += WORDS_TOGETHER
    if i < n:
        philox_words(stream, blocks, words)
        j = 0
        while i + j < n:
            value = kept_or_zero(load_up_to(x + i + j, n - i - j, vsplat(0)), scale, words + j, threshold)
            store_up_to(y + i + j, value, n - i - j)
            j += VL


cdef int dropout(const Instruction *instruction, int thread, int n_threads) noexcept nogil:
    """y = x * scale where the element's word reaches the threshold, else 0 (whatever x is: NaN is dropped too).

    Operands: y; x. Integers: column of the step number, seed, operation, threshold. Numbers: scale.
    """
    cdef const Operand *y = &instruction.operand[0]
    cdef const Operand *x = &instruction.operand[1]
    cdef real from_x[SPAN]
    cdef real to_y[SPAN]
    cdef Philox stream
    cdef int64_t first, last, n, longest = min(longest_span(x, count(y)), longest_span(y, count(y)))
    philox_start(&stream, instruction.integer[1], instruction.integer[2],
                 <uint64_t> instruction.run[instruction.integer[0]])
    share(count(y), WORDS_TOGETHER, thread, n_threads, &first, &last)
    while first < last:
        n = min(longest, last - first)
        drop_run(&stream, first // 4, span_target(y, first, to_y), read_span(x, first, n, from_x), n,
                 <uint32_t> instruction.integer[3], vsplat(<real> instruction.number[0]))
        write_span(y, first, n, to_y)
        first += n
    return KERNEL_OK

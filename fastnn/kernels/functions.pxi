# Functions of one vector: exp, log, log1p, expm1, tanh, sigmoid, softplus and erf, the same bits at every width.
#
# A lane's result depends on that lane alone, so a part of a vector (vload_part) gives what a whole one gives; NaN goes
# in and comes out. Errors: units of the last place. The worst measured in float32, with and without FMA: exp 1.04,
# log 0.87, log1p 1.44, tanh 2.50, sigmoid 2.41, softplus 2.05, erf 1.35 (with FMA the first three were tried at every
# number; otherwise at all with 2^-14 <= |x| < 128, and every 37th beyond). tests/test_functions.py samples both types;
# GELU, which has its own way to the normal distribution, was within 3.2 units from -1 on in float32, 4.7 in float64,
# and its slope within 1.1 and 1.2 units of 1.

cdef extern from "coefficients.h":
    enum: EXP_TERMS, LOG_TERMS, ERF_TERMS, ERFC_TERMS, TAIL_TERMS, SLOPE_TERMS
    const real LOG2_E, LN2_HIGH, LN2_LOW, SQRT_HALF, SMALLEST_NORMAL
    const real TWO_OVER_ROOT_PI, ROOT_TWO_OVER_PI
    const real EXP_LOWEST, EXP_HIGHEST, ERF_LIMIT, TAIL_LIMIT, LIFT, NOT_A_NUMBER, INFINITE
    const real *EXP_TABLE
    const real *LOG_TABLE
    const real *ERF_TABLE
    const real *ERFC_TABLE
    const real *TAIL_TABLE
    const real *SLOPE_TABLE


cdef inline vf horner(vf x, const real *table, int terms) noexcept nogil:
    """The polynomial in x whose coefficients stand in `table`, highest power first."""
    cdef vf sum = vsplat(table[0])
    cdef int i
    for i in range(1, terms):
        sum = vfma(sum, x, vsplat(table[i]))
    return sum


cdef inline vf horner_paired(vf x, vf square, const real *table, int terms) noexcept nogil:
    """The same from pairs of terms, which are a polynomial in `square`, x x: a long chain of sums, each of which waits
    for the one before, becomes half as long."""
    cdef vf sum = vsplat(table[0])
    cdef int i = 1
    if terms % 2 == 0:
        sum = vfma(sum, x, vsplat(table[1]))
        i = 2
    while i < terms:
        sum = vfma(sum, square, vfma(vsplat(table[i]), x, vsplat(table[i + 1])))
        i += 2
    return sum


cdef inline vf reduced_expm1(vf x, vf *shifted) noexcept nogil:
    """exp(r) - 1, where x = n log 2 + r with a whole number n, shifted = n + ROUNDER, and |r| <= log(2) / 2."""
    cdef vf n, r, square
    shifted[0] = vfma(x, vsplat(LOG2_E), vsplat(ROUNDER))
    n = shifted[0] - vsplat(ROUNDER)
    r = vfma(n, vsplat(-LN2_LOW), vfma(n, vsplat(-LN2_HIGH), x))
    square = r * r
    return vfma(square, horner_paired(r, square, EXP_TABLE, EXP_TERMS), r)


cdef inline vf vexp(vf x) noexcept nogil:
    """exp(x), within 2 units; 0 and infinity beyond the ends of the range, denormals before that."""
    cdef vf shifted
    cdef vf y = reduced_expm1(vmin(vsplat(EXP_HIGHEST), vmax(vsplat(EXP_LOWEST), x)), &shifted) + vsplat(1)
    return vscale(y, shifted - vsplat(ROUNDER))


cdef inline vf vexp_negative(vf x) noexcept nogil:
    """The same, bit for bit, for x <= 0, which takes less."""
    cdef vf shifted
    cdef vf y = reduced_expm1(vmax(vsplat(EXP_LOWEST), x), &shifted) + vsplat(1)
    return vscale_down(y, shifted - vsplat(ROUNDER))


cdef inline vf vexpm1_negative(vf x) noexcept nogil:
    """exp(x) - 1 for x <= 0, within 2 units."""
    cdef vf shifted
    cdef vf y = reduced_expm1(vmax(vsplat(-40), x), &shifted)  # at -40 the result has long been -1
    cdef vf power = vpower_of_two(shifted)
    return vfma(power, y, power - vsplat(1))


cdef inline vf vtanh(vf x) noexcept nogil:
    """tanh(x) = -e / (2 + e) with e = exp(-2 |x|) - 1, within 4 units."""
    cdef vf e = vexpm1_negative(vsplat(-2) * vabs(x))
    return vcopysign(e / (vsplat(2) + e), x)


cdef inline vf vsigmoid(vf x) noexcept nogil:
    """1 / (1 + exp(-x)), within 4 units down to the denormals: exp is only taken of numbers below 0."""
    cdef vf e = vexp_negative(vminus_abs(x))
    return vselect_signed(x, e, vsplat(1)) / (vsplat(1) + e)  # of -0, e is 1


cdef inline vf log_sum(vf k, vf f) noexcept nogil:
    """k log 2 + log(1 + f) for sqrt(1/2) - 1 <= f <= 1 and whole k.

    With s = f / (2 + f), log(1 + f) = 2 atanh(s) = f - f^2 / 2 + s (f^2 / 2 + z L(z)), z = s^2: a form whose leading
    term is exact, so that small f lose nothing.
    """
    cdef vf s = f / (vsplat(2) + f)
    cdef vf z = s * s
    cdef vf half_square = vsplat(0.5) * f * f
    cdef vf tail = vfma(s, vfma(z, horner(z, LOG_TABLE, LOG_TERMS), half_square), k * vsplat(LN2_LOW))
    return vfma(k, vsplat(LN2_HIGH), f - (half_square - tail))


cdef inline vf split(vf x, vf *mantissa) noexcept nogil:
    """x = 2^k m with sqrt(1/2) <= m < sqrt(2), for normal x > 0: returns k."""
    cdef vi base = vbits(vsplat(SQRT_HALF))
    cdef vi bits = vbits(x) - base + vbits(vsplat(1))
    mantissa[0] = vfrombits((bits & vbits(vsplat(SMALLEST_NORMAL)) - 1) + base)
    return vfrombits(vshift_right(bits, MANTISSA_BITS) + vbits(vsplat(ROUNDER))) - vsplat(ROUNDER + EXPONENT_BIAS)


cdef inline vf log_at_ends(vf x, vf y) noexcept nogil:
    """log(x) where y is right for positive finite x: NaN below 0, -infinity at 0, infinity and NaN themselves."""
    y = vselect(vless(x, vsplat(INFINITE)), y, x)
    y = vselect(vless(vsplat(0), x), y, vsplat(NOT_A_NUMBER))
    return vselect(vequal(x, vsplat(0)), vsplat(-INFINITE), y)


cdef inline vf vlog(vf x) noexcept nogil:
    """log(x), within 2 units."""
    cdef vi denormal = vless(x, vsplat(SMALLEST_NORMAL))
    cdef vf m
    cdef vf k = split(vselect(denormal, x * vsplat(LIFT), x), &m)
    k = k - vselect(denormal, vsplat(MANTISSA_BITS + 1), vsplat(0))
    return log_at_ends(x, log_sum(k, m - vsplat(1)))


cdef inline vf vlog1p(vf x) noexcept nogil:
    """log(1 + x), within 4 units: what rounding 1 + x loses is put back into the mantissa."""
    cdef vf u = vsplat(1) + x
    cdef vf part = u - vsplat(1)
    cdef vf lost = (vsplat(1) - (u - part)) + (x - part)
    cdef vf m
    cdef vf k = split(u, &m)
    # 2^-k; beyond 2^60 it may not be a number, and nothing that is lost matters.
    cdef vf power = vselect(vless(u, vsplat(1e18)), vpower_of_two(vsplat(ROUNDER) - k), vsplat(0))
    return vcopysign(log_at_ends(u, log_sum(k, vfma(lost, power, m - vsplat(1)))), x)


cdef inline vf vsoftplus(vf x) noexcept nogil:
    """log(1 + exp(x)) = max(x, 0) + log(1 + exp(-|x|)), within 4 units."""
    return vmax(vsplat(0), x) + log_sum(vsplat(0), vexp_negative(vminus_abs(x)))


cdef inline vf verf(vf x) noexcept nogil:
    """erf(x), within 4 units: a polynomial up to 1, then 1 - exp(a polynomial)."""
    cdef vf size = vabs(x)
    cdef vf near = vfma(size, horner(size * size, ERF_TABLE, ERF_TERMS), size)
    cdef vf far = -vexpm1_negative(horner(vmin(vsplat(ERF_LIMIT), size), ERFC_TABLE, ERFC_TERMS))
    return vcopysign(vselect(vless(size, vsplat(1)), near, far), x)


cdef inline vf vnormal_tail(vf x) noexcept nogil:
    """How much of the standard normal distribution lies beyond x >= 0: exp(a polynomial)."""
    x = vmin(vsplat(TAIL_LIMIT), x)
    return vexp_negative(horner_paired(x, x * x, TAIL_TABLE, TAIL_TERMS))

# Elementwise functions: of one operand (unary), their slopes times a gradient (slope), of two (binary), and where.
#
# `function` and `slope_times` say what is computed for one vector; unary_run and slope_run apply them to a row, also in
# the epilogues of products; the kernels walk over operands of any strides and any broadcasting.

cdef extern from *:
    """
    enum { IDENTITY, STEP, RELU, LEAKY_RELU, ELU, SIGMOID, TANH, SOFTPLUS, SILU, GELU, GELU_TANH,
           EXP, LOG, LOG1P, SQRT, SQUARE, ABSOLUTE, NEGATIVE, RECIPROCAL, SIGN, ERF };
    """
    enum: IDENTITY, STEP, RELU, LEAKY_RELU, ELU, SIGMOID, TANH, SOFTPLUS, SILU, GELU, GELU_TANH
    enum: EXP, LOG, LOG1P, SQRT, SQUARE, ABSOLUTE, NEGATIVE, RECIPROCAL, SIGN, ERF


cdef inline vf normal_distribution(vf x) noexcept nogil:
    """How much of the standard normal distribution lies below x: (1 + erf(x / sqrt 2)) / 2."""
    return vfma(vsplat(0.5), verf(x * vsplat(SQRT_HALF)), vsplat(0.5))


cdef inline vf gelu_gate(vf x) noexcept nogil:
    """The approximation to it: (1 + tanh(sqrt(2 / pi) (x + 0.044715 x^3))) / 2, written as a sigmoid."""
    return vsigmoid(vsplat(2 * ROOT_TWO_OVER_PI) * vfma(vsplat(0.044715) * x * x, x, x))


cdef inline vf function(int code, vf x, vf a) noexcept nogil:
    """f(x); `a` is the function's parameter, where it has one."""
    cdef vf zero = vsplat(0), one = vsplat(1)
    if code == STEP:
        return vselect(vless(x, zero), zero, vselect(vless_equal(zero, x), one, x))
    if code == RELU:
        return vmax(zero, x)
    if code == LEAKY_RELU:
        return vselect(vless(x, zero), a * x, x)
    if code == ELU:
        return vselect(vless(x, zero), a * vexpm1_negative(x), x)
    if code == SIGMOID:
        return vsigmoid(x)
    if code == TANH:
        return vtanh(x)
    if code == SOFTPLUS:
        return vsoftplus(x)
    if code == SILU:
        return x * vsigmoid(x)
    if code == GELU:
        return x * normal_distribution(x)
    if code == GELU_TANH:
        return x * gelu_gate(x)
    if code == EXP:
        return vexp(x)
    if code == LOG:
        return vlog(x)
    if code == LOG1P:
        return vlog1p(x)
    if code == SQRT:
        return vsqrt(x)
    if code == SQUARE:
        return x * x
    if code == ABSOLUTE:
        return vabs(x)
    if code == NEGATIVE:
        return -x
    if code == RECIPROCAL:
        return one / x
    if code == SIGN:
        return vselect(vless(zero, x), one, vselect(vless(x, zero), -one, x))
    if code == ERF:
        return verf(x)
    return x


cdef inline vf slope_times(int code, vf dy, vf s, vf a) noexcept nogil:
    """dy f'(x), where s is y = f(x) or x: whichever gives the slope more easily (see fastnn/ops/activation.py)."""
    cdef vf zero = vsplat(0), one = vsplat(1), gate
    # of the output
    if code == RELU:
        return vselect(vless_equal(s, zero), zero, dy)
    if code == LEAKY_RELU:
        return vselect(vless_equal(s, zero), a * dy, dy)
    if code == ELU:
        return vselect(vless_equal(s, zero), dy * (s + a), dy)
    if code == SIGMOID:
        return dy * (s * (one - s))
    if code == TANH:
        return dy * vfma(-s, s, one)
    if code == EXP:
        return dy * s
    if code == SQRT:
        return vsplat(0.5) * dy / s
    if code == RECIPROCAL:
        return -dy * (s * s)
    # of the input
    if code == SOFTPLUS:
        return dy * vsigmoid(s)
    if code == SILU:
        gate = vsigmoid(s)
        return dy * vfma(s * gate, one - gate, gate)
    if code == GELU:
        return dy * vfma(s * vsplat(ONE_OVER_ROOT_TWO_PI), vexp(vsplat(-0.5) * s * s), normal_distribution(s))
    if code == GELU_TANH:
        gate = gelu_gate(s)
        a = vsplat(2 * ROOT_TWO_OVER_PI) * vfma(vsplat(3 * 0.044715) * s, s, one)
        return dy * vfma(s * gate * (one - gate), a, gate)
    if code == LOG:
        return dy / s
    if code == LOG1P:
        return dy / (one + s)
    if code == SQUARE:
        return vsplat(2) * dy * s
    if code == ABSOLUTE:
        return dy * function(SIGN, s, a)
    if code == ERF:
        return dy * vsplat(TWO_OVER_ROOT_PI) * vexp(-s * s)
    return dy


cdef inline void function_loop(int code, const double *numbers, real *y, const real *x, int64_t n) noexcept nogil:
    cdef vf a = vsplat(numbers[0])
    cdef int64_t i = 0
    while i + VL <= n:
        vstore(y + i, function(code, vload(x + i), a))
        i += VL
    if i < n:
        vstore_part(y + i, function(code, vload_part(x + i, n - i), a), n - i)


cdef inline void slope_loop(int code, const double *numbers, real *dx, const real *dy, const real *s,
                            int64_t n) noexcept nogil:
    cdef vf a = vsplat(numbers[0])
    cdef int64_t i = 0
    while i + VL <= n:
        vstore(dx + i, slope_times(code, vload(dy + i), vload(s + i), a))
        i += VL
    if i < n:
        vstore_part(dx + i, slope_times(code, vload_part(dy + i, n - i), vload_part(s + i, n - i), a), n - i)


cdef void unary_run(int code, const double *numbers, real *y, const real *x, int64_t n) noexcept nogil:
    """y[i] = f(x[i]) for i < n; y may be x. The code is a constant in each loop, so that no loop asks for it."""
    if code == STEP:
        function_loop(STEP, numbers, y, x, n)
    elif code == RELU:
        function_loop(RELU, numbers, y, x, n)
    elif code == LEAKY_RELU:
        function_loop(LEAKY_RELU, numbers, y, x, n)
    elif code == ELU:
        function_loop(ELU, numbers, y, x, n)
    elif code == SIGMOID:
        function_loop(SIGMOID, numbers, y, x, n)
    elif code == TANH:
        function_loop(TANH, numbers, y, x, n)
    elif code == SOFTPLUS:
        function_loop(SOFTPLUS, numbers, y, x, n)
    elif code == SILU:
        function_loop(SILU, numbers, y, x, n)
    elif code == GELU:
        function_loop(GELU, numbers, y, x, n)
    elif code == GELU_TANH:
        function_loop(GELU_TANH, numbers, y, x, n)
    elif code == EXP:
        function_loop(EXP, numbers, y, x, n)
    elif code == LOG:
        function_loop(LOG, numbers, y, x, n)
    elif code == LOG1P:
        function_loop(LOG1P, numbers, y, x, n)
    elif code == SQRT:
        function_loop(SQRT, numbers, y, x, n)
    elif code == SQUARE:
        function_loop(SQUARE, numbers, y, x, n)
    elif code == ABSOLUTE:
        function_loop(ABSOLUTE, numbers, y, x, n)
    elif code == NEGATIVE:
        function_loop(NEGATIVE, numbers, y, x, n)
    elif code == RECIPROCAL:
        function_loop(RECIPROCAL, numbers, y, x, n)
    elif code == SIGN:
        function_loop(SIGN, numbers, y, x, n)
    elif code == ERF:
        function_loop(ERF, numbers, y, x, n)
    else:
        function_loop(IDENTITY, numbers, y, x, n)


cdef void slope_run(int code, const double *numbers, real *dx, const real *dy, const real *s,
                    int64_t n) noexcept nogil:
    """dx[i] = dy[i] f'(s[i]) for i < n; dx may be dy."""
    if code == RELU:
        slope_loop(RELU, numbers, dx, dy, s, n)
    elif code == LEAKY_RELU:
        slope_loop(LEAKY_RELU, numbers, dx, dy, s, n)
    elif code == ELU:
        slope_loop(ELU, numbers, dx, dy, s, n)
    elif code == SIGMOID:
        slope_loop(SIGMOID, numbers, dx, dy, s, n)
    elif code == TANH:
        slope_loop(TANH, numbers, dx, dy, s, n)
    elif code == EXP:
        slope_loop(EXP, numbers, dx, dy, s, n)
    elif code == SQRT:
        slope_loop(SQRT, numbers, dx, dy, s, n)
    elif code == RECIPROCAL:
        slope_loop(RECIPROCAL, numbers, dx, dy, s, n)
    elif code == SOFTPLUS:
        slope_loop(SOFTPLUS, numbers, dx, dy, s, n)
    elif code == SILU:
        slope_loop(SILU, numbers, dx, dy, s, n)
    elif code == GELU:
        slope_loop(GELU, numbers, dx, dy, s, n)
    elif code == GELU_TANH:
        slope_loop(GELU_TANH, numbers, dx, dy, s, n)
    elif code == LOG:
        slope_loop(LOG, numbers, dx, dy, s, n)
    elif code == LOG1P:
        slope_loop(LOG1P, numbers, dx, dy, s, n)
    elif code == SQUARE:
        slope_loop(SQUARE, numbers, dx, dy, s, n)
    elif code == ABSOLUTE:
        slope_loop(ABSOLUTE, numbers, dx, dy, s, n)
    elif code == ERF:
        slope_loop(ERF, numbers, dx, dy, s, n)
    else:
        slope_loop(IDENTITY, numbers, dx, dy, s, n)


cdef int unary(const Instruction *instruction, int thread, int n_threads) noexcept nogil:
    """y = f(x). Operands y, x; integer 0 is the function's code, number 0 its parameter."""
    cdef int64_t first, last
    share(count(&instruction.operand[0]), 16, thread, n_threads, &first, &last)
    unary_run(instruction.integer[0], instruction.number, <real *> instruction.operand[0].data + first,
              <const real *> instruction.operand[1].data + first, last - first)
    return KERNEL_OK


cdef int slope(const Instruction *instruction, int thread, int n_threads) noexcept nogil:
    """dx = dy f'(s). Operands dx, dy, s; integer 0 is the function's code, number 0 its parameter."""
    cdef int64_t first, last
    share(count(&instruction.operand[0]), 16, thread, n_threads, &first, &last)
    slope_run(instruction.integer[0], instruction.number, <real *> instruction.operand[0].data + first,
              <const real *> instruction.operand[1].data + first, <const real *> instruction.operand[2].data + first,
              last - first)
    return KERNEL_OK

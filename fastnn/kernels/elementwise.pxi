# Elementwise kernels: functions of one operand (unary), their slopes times a gradient (slope), of two (binary), where.
#
# `function`, `slope_times` and `pair` say what is computed for one vector; unary_run and slope_run apply them to a
# row, also in the epilogues of products; nest.pxi brings rows out of operands of any strides.

cdef enum:  # functions and binary operations: in the order of FUNCTIONS and COMBINATIONS in ops/_elementwise.py
    F_IDENTITY, F_STEP, F_RELU, F_LEAKY_RELU, F_ELU, F_SIGMOID, F_TANH, F_SOFTPLUS, F_SILU, F_GELU, F_GELU_TANH,
    F_EXP, F_LOG, F_LOG1P, F_SQRT, F_SQUARE, F_ABSOLUTE, F_NEGATIVE, F_RECIPROCAL, F_SIGN, F_ERF

cdef enum:
    B_ADD, B_SUBTRACT, B_MULTIPLY, B_DIVIDE, B_MAXIMUM, B_MINIMUM, B_LESS, B_LESS_EQUAL, B_EQUAL


cdef inline vf normal_distribution(vf x) noexcept nogil:
    """How much of the standard normal distribution lies below x: (1 + erf(x / sqrt 2)) / 2."""
    cdef vf tail = vnormal_tail(vabs(x))
    return vselect(vless(x, vsplat(0)), tail, vsplat(1) - tail)


cdef inline vf gelu_slope(vf x) noexcept nogil:
    """N(x) + x d(x), N being the normal distribution and d its density: below 0, d times a polynomial in |x|, above 0
    what that at -x leaves of 1. (N(-x) / d(x), Mills' ratio, is smooth.) One exponential does for both."""
    cdef vf size = vmin(vsplat(TAIL_LIMIT), vabs(x))
    cdef vf square = size * size
    cdef vf below = vexp_negative(vsplat(-0.5) * square) * horner_paired(size, square, SLOPE_TABLE, SLOPE_TERMS)
    return vselect(vless(x, vsplat(0)), below, vsplat(1) - below)


cdef inline vf gelu_gate(vf x) noexcept nogil:
    """The approximation to it: (1 + tanh(sqrt(2 / pi) (x + 0.044715 x^3))) / 2, written as a sigmoid."""
    return vsigmoid(vsplat(2 * ROOT_TWO_OVER_PI) * vfma(vsplat(0.044715) * x * x, x, x))


cdef inline bint is_light(int code) noexcept nogil:
    """Whether a function takes less time than memory does."""
    return code <= F_LEAKY_RELU or F_SQRT <= code <= F_SIGN


cdef inline bint is_light_slope(int code) noexcept nogil:
    return is_light(code) or F_ELU <= code <= F_TANH or F_EXP <= code <= F_LOG1P


cdef inline vf function(int code, vf x, vf a) noexcept nogil:
    """f(x); `a` is the function's parameter, where it has one."""
    cdef vf zero = vsplat(0), one = vsplat(1)
    if code == F_STEP:
        return vselect(vless(x, zero), zero, vselect(vless_equal(zero, x), one, x))
    if code == F_RELU:
        return vmax(zero, x)
    if code == F_LEAKY_RELU:
        return vselect(vless(x, zero), a * x, x)
    if code == F_ELU:
        return vselect(vless(x, zero), a * vexpm1_negative(x), x)
    if code == F_SIGMOID:
        return vsigmoid(x)
    if code == F_TANH:
        return vtanh(x)
    if code == F_SOFTPLUS:
        return vsoftplus(x)
    if code == F_SILU:
        return x * vsigmoid(x)
    if code == F_GELU:
        return x * normal_distribution(x)
    if code == F_GELU_TANH:
        return x * gelu_gate(x)
    if code == F_EXP:
        return vexp(x)
    if code == F_LOG:
        return vlog(x)
    if code == F_LOG1P:
        return vlog1p(x)
    if code == F_SQRT:
        return vsqrt(x)
    if code == F_SQUARE:
        return x * x
    if code == F_ABSOLUTE:
        return vabs(x)
    if code == F_NEGATIVE:
        return -x
    if code == F_RECIPROCAL:
        return one / x
    if code == F_SIGN:
        return vselect(vless(zero, x), one, vselect(vless(x, zero), -one, x))
    if code == F_ERF:
        return verf(x)
    return x


cdef inline vf slope_times(int code, vf dy, vf s, vf a) noexcept nogil:
    """dy f'(x), where s is y = f(x) or x: whichever gives the slope more easily (see fastnn/ops/activation.py)."""
    cdef vf zero = vsplat(0), one = vsplat(1), gate
    # of the output
    if code == F_RELU:
        return vselect(vless_equal(s, zero), zero, dy)
    if code == F_LEAKY_RELU:
        return vselect(vless_equal(s, zero), a * dy, dy)
    if code == F_ELU:
        return vselect(vless_equal(s, zero), dy * (s + a), dy)
    if code == F_SIGMOID:
        return dy * (s * (one - s))
    if code == F_TANH:
        return dy * vfma(-s, s, one)
    if code == F_EXP:
        return dy * s
    if code == F_SQRT:
        return vsplat(0.5) * dy / s
    if code == F_RECIPROCAL:
        return -dy * (s * s)
    # of the input
    if code == F_SOFTPLUS:
        return dy * vsigmoid(s)
    if code == F_SILU:
        gate = vsigmoid(s)
        return dy * vfma(s * gate, one - gate, gate)
    if code == F_GELU:
        return dy * gelu_slope(s)
    if code == F_GELU_TANH:
        gate = gelu_gate(s)
        a = vsplat(2 * ROOT_TWO_OVER_PI) * vfma(vsplat(3 * 0.044715) * s, s, one)
        return dy * vfma(s * gate * (one - gate), a, gate)
    if code == F_LOG:
        return dy / s
    if code == F_LOG1P:
        return dy / (one + s)
    if code == F_SQUARE:
        return vsplat(2) * dy * s
    if code == F_ABSOLUTE:
        return dy * function(F_SIGN, s, a)
    if code == F_ERF:
        return dy * vsplat(TWO_OVER_ROOT_PI) * vexp_negative(-s * s)
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
        vstore(dx + i, slope_times(code, vload_once(dy + i), vload(s + i), a))
        i += VL
    if i < n:
        vstore_part(dx + i, slope_times(code, vload_part(dy + i, n - i), vload_part(s + i, n - i), a), n - i)


cdef void unary_run(int code, const double *numbers, real *y, const real *x, int64_t n) noexcept nogil:
    """y[i] = f(x[i]) for i < n; y may be x. The code is a constant in each loop, so that no loop asks for it."""
    if code == F_STEP:
        function_loop(F_STEP, numbers, y, x, n)
    elif code == F_RELU:
        function_loop(F_RELU, numbers, y, x, n)
    elif code == F_LEAKY_RELU:
        function_loop(F_LEAKY_RELU, numbers, y, x, n)
    elif code == F_ELU:
        function_loop(F_ELU, numbers, y, x, n)
    elif code == F_SIGMOID:
        function_loop(F_SIGMOID, numbers, y, x, n)
    elif code == F_TANH:
        function_loop(F_TANH, numbers, y, x, n)
    elif code == F_SOFTPLUS:
        function_loop(F_SOFTPLUS, numbers, y, x, n)
    elif code == F_SILU:
        function_loop(F_SILU, numbers, y, x, n)
    elif code == F_GELU:
        function_loop(F_GELU, numbers, y, x, n)
    elif code == F_GELU_TANH:
        function_loop(F_GELU_TANH, numbers, y, x, n)
    elif code == F_EXP:
        function_loop(F_EXP, numbers, y, x, n)
    elif code == F_LOG:
        function_loop(F_LOG, numbers, y, x, n)
    elif code == F_LOG1P:
        function_loop(F_LOG1P, numbers, y, x, n)
    elif code == F_SQRT:
        function_loop(F_SQRT, numbers, y, x, n)
    elif code == F_SQUARE:
        function_loop(F_SQUARE, numbers, y, x, n)
    elif code == F_ABSOLUTE:
        function_loop(F_ABSOLUTE, numbers, y, x, n)
    elif code == F_NEGATIVE:
        function_loop(F_NEGATIVE, numbers, y, x, n)
    elif code == F_RECIPROCAL:
        function_loop(F_RECIPROCAL, numbers, y, x, n)
    elif code == F_SIGN:
        function_loop(F_SIGN, numbers, y, x, n)
    elif code == F_ERF:
        function_loop(F_ERF, numbers, y, x, n)
    else:
        function_loop(F_IDENTITY, numbers, y, x, n)


cdef void slope_run(int code, const double *numbers, real *dx, const real *dy, const real *s,
                    int64_t n) noexcept nogil:
    """dx[i] = dy[i] f'(s[i]) for i < n; dx may be dy."""
    if code == F_RELU:
        slope_loop(F_RELU, numbers, dx, dy, s, n)
    elif code == F_LEAKY_RELU:
        slope_loop(F_LEAKY_RELU, numbers, dx, dy, s, n)
    elif code == F_ELU:
        slope_loop(F_ELU, numbers, dx, dy, s, n)
    elif code == F_SIGMOID:
        slope_loop(F_SIGMOID, numbers, dx, dy, s, n)
    elif code == F_TANH:
        slope_loop(F_TANH, numbers, dx, dy, s, n)
    elif code == F_EXP:
        slope_loop(F_EXP, numbers, dx, dy, s, n)
    elif code == F_SQRT:
        slope_loop(F_SQRT, numbers, dx, dy, s, n)
    elif code == F_RECIPROCAL:
        slope_loop(F_RECIPROCAL, numbers, dx, dy, s, n)
    elif code == F_SOFTPLUS:
        slope_loop(F_SOFTPLUS, numbers, dx, dy, s, n)
    elif code == F_SILU:
        slope_loop(F_SILU, numbers, dx, dy, s, n)
    elif code == F_GELU:
        slope_loop(F_GELU, numbers, dx, dy, s, n)
    elif code == F_GELU_TANH:
        slope_loop(F_GELU_TANH, numbers, dx, dy, s, n)
    elif code == F_LOG:
        slope_loop(F_LOG, numbers, dx, dy, s, n)
    elif code == F_LOG1P:
        slope_loop(F_LOG1P, numbers, dx, dy, s, n)
    elif code == F_SQUARE:
        slope_loop(F_SQUARE, numbers, dx, dy, s, n)
    elif code == F_ABSOLUTE:
        slope_loop(F_ABSOLUTE, numbers, dx, dy, s, n)
    elif code == F_ERF:
        slope_loop(F_ERF, numbers, dx, dy, s, n)
    else:
        slope_loop(F_IDENTITY, numbers, dx, dy, s, n)


cdef inline vf pair(int code, vf a, vf b) noexcept nogil:
    """a + b, a - b, ...; comparisons give 1 or 0."""
    if code == B_ADD:
        return a + b
    if code == B_SUBTRACT:
        return a - b
    if code == B_MULTIPLY:
        return a * b
    if code == B_DIVIDE:
        return a / b
    if code == B_MAXIMUM:  # NaN where either is
        return vselect(vequal(a, a), vmax(a, b), a)
    if code == B_MINIMUM:
        return vselect(vequal(a, a), vmin(a, b), a)
    if code == B_LESS:
        return vselect(vless(a, b), vsplat(1), vsplat(0))
    if code == B_LESS_EQUAL:
        return vselect(vless_equal(a, b), vsplat(1), vsplat(0))
    return vselect(vequal(a, b), vsplat(1), vsplat(0))


cdef inline void pair_loop(int code, real *y, const real *a, const real *b, int64_t n) noexcept nogil:
    cdef int64_t i = 0
    while i + VL <= n:
        vstore(y + i, pair(code, vload(a + i), vload(b + i)))
        i += VL
    if i < n:
        vstore_part(y + i, pair(code, vload_part(a + i, n - i), vload_part(b + i, n - i)), n - i)


cdef void pair_run(int code, real *y, const real *a, const real *b, int64_t n) noexcept nogil:
    if code == B_ADD:
        pair_loop(B_ADD, y, a, b, n)
    elif code == B_SUBTRACT:
        pair_loop(B_SUBTRACT, y, a, b, n)
    elif code == B_MULTIPLY:
        pair_loop(B_MULTIPLY, y, a, b, n)
    elif code == B_DIVIDE:
        pair_loop(B_DIVIDE, y, a, b, n)
    elif code == B_MAXIMUM:
        pair_loop(B_MAXIMUM, y, a, b, n)
    elif code == B_MINIMUM:
        pair_loop(B_MINIMUM, y, a, b, n)
    elif code == B_LESS:
        pair_loop(B_LESS, y, a, b, n)
    elif code == B_LESS_EQUAL:
        pair_loop(B_LESS_EQUAL, y, a, b, n)
    else:
        pair_loop(B_EQUAL, y, a, b, n)


cdef void choose_run(real *y, const real *condition, const real *a, const real *b, int64_t n) noexcept nogil:
    """y = b where the condition is 0, a elsewhere (NaN is not 0)."""
    cdef vf zero = vsplat(0)
    cdef int64_t i = 0
    while i + VL <= n:
        vstore(y + i, vselect(vequal(vload(condition + i), zero), vload_once(b + i), vload_once(a + i)))
        i += VL
    if i < n:
        vstore_part(y + i, vselect(vequal(vload_part(condition + i, n - i), zero), vload_part(b + i, n - i),
                                   vload_part(a + i, n - i)), n - i)


# ------------------------------------------------------------------------------------------------- the kernels

cdef void run_unary(const Instruction *instruction, real *const *data, int64_t n) noexcept nogil:
    unary_run(instruction.integer[0], instruction.number, data[0], data[1], n)


cdef void run_slope(const Instruction *instruction, real *const *data, int64_t n) noexcept nogil:
    slope_run(instruction.integer[0], instruction.number, data[0], data[1], data[2], n)


cdef void run_binary(const Instruction *instruction, real *const *data, int64_t n) noexcept nogil:
    pair_run(instruction.integer[0], data[0], data[1], data[2], n)


cdef void run_where(const Instruction *instruction, real *const *data, int64_t n) noexcept nogil:
    choose_run(data[0], data[1], data[2], data[3], n)


cdef int unary(const Instruction *instruction, int thread, int n_threads) noexcept nogil:
    """y = f(x). Operands y, x; integer 0 is the function's code, number 0 its parameter."""
    return elementwise(instruction, 2, run_unary, is_light(instruction.integer[0]), thread, n_threads)


cdef Kernel prepare_unary(Instruction *instruction, int n_threads) noexcept nogil:
    return prepare_elementwise(instruction, 2, run_unary, n_threads)


cdef int slope(const Instruction *instruction, int thread, int n_threads) noexcept nogil:
    """dx = dy f'(s). Operands dx, dy, s; integer 0 is the function's code, number 0 its parameter."""
    return elementwise(instruction, 3, run_slope, is_light_slope(instruction.integer[0]), thread, n_threads)


cdef Kernel prepare_slope(Instruction *instruction, int n_threads) noexcept nogil:
    return prepare_elementwise(instruction, 3, run_slope, n_threads)


cdef int binary(const Instruction *instruction, int thread, int n_threads) noexcept nogil:
    """y = a + b, a - b, ... Operands y, a, b; integer 0 is the code. a and b are broadcast to y's shape."""
    return elementwise(instruction, 3, run_binary, True, thread, n_threads)


cdef Kernel prepare_binary(Instruction *instruction, int n_threads) noexcept nogil:
    return prepare_elementwise(instruction, 3, run_binary, n_threads)


cdef int where(const Instruction *instruction, int thread, int n_threads) noexcept nogil:
    """y = a where the condition holds, b elsewhere. Operands y, condition, a, b, broadcast to y's shape."""
    return elementwise(instruction, 4, run_where, True, thread, n_threads)


cdef Kernel prepare_where(Instruction *instruction, int n_threads) noexcept nogil:
    return prepare_elementwise(instruction, 4, run_where, n_threads)

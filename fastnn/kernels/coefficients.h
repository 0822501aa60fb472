/* Polynomials and constants of functions.pxi, highest power first.
 *
 * Each polynomial is a minimax fit: Remez exchange in 60-digit arithmetic, then rounded to the type. "Error" is the
 * largest error the exact polynomial would cause in the function's result, relative to that result.               */
#ifndef FASTNN_COEFFICIENTS_H
#define FASTNN_COEFFICIENTS_H

#include "vector.h"

#define LOG2_E 1.4426950408889634
#define SQRT_HALF 0.7071067811865476
#define TWO_OVER_ROOT_PI 1.1283791670955126
#define ROOT_TWO_OVER_PI 0.7978845608028654
#define ONE_OVER_ROOT_TWO_PI 0.3989422804014327
#define LIFT ((real)((int64_t)2 << MANTISSA_BITS)) /* makes denormals normal */
#define NOT_A_NUMBER ((real)__builtin_nan(""))
#define INFINITE ((real)__builtin_inf())

#if REAL_IS_DOUBLE
/* log 2 in two parts; a whole number below 2048 times the first is exact. */
#define LN2_HIGH 0.693147180559663
#define LN2_LOW 2.8235290563031577e-13
#define SMALLEST_NORMAL 2.2250738585072014e-308
#define EXP_LOWEST -750.0 /* exp is 0 here ... */
#define EXP_HIGHEST 710.0 /* ... and infinite here */
#define ERF_LIMIT 6.0     /* erf rounds to 1 */
#define TAIL_LIMIT 45.0   /* exp(the tail's polynomial) is 0; at infinity its powers would cancel */

/* (exp(r) - 1 - r) / r^2 for |r| <= log(2) / 2. Error 2^-57.9. */
static const real EXP_TABLE[] = {
    2.4999959454171813e-08, 2.76303785829368e-07, 2.755758735996192e-06, 2.4801492762892477e-05,
    0.00019841269504747004, 0.0013888888943922567, 0.00833333333349563, 0.04166666666652919, 0.1666666666666641,
    0.5000000000000011};
/* (2 atanh(s) / s - 2) / s^2 in powers of s^2, for |s| <= 1/3. Error 2^-59.4. */
static const real LOG_TABLE[] = {
    0.17019409722360945, 0.08339662640512302, 0.12106183971432452, 0.13300961599168215, 0.15386560805977476,
    0.18181743885036186, 0.22222223970813323, 0.2857142854783742, 0.40000000000157365, 0.6666666666666631};
/* erf(x) / x - 1 in powers of x^2, for |x| <= 1. Error 2^-56.9. */
static const real ERF_TABLE[] = {
    -7.779476959021837e-10, 1.371098517488564e-08, -1.62063149184187e-07, 1.644713172985184e-06,
    -1.492471231540805e-05, 0.00012055293577623624, -0.0008548325929339361, 0.005223977606119001,
    -0.02686617064311153, 0.11283791670944185, -0.3761263890318352, 0.12837916709551256};
/* log(1 - erf(x)) for 1 <= x <= 6. Error 2^-57.0. */
static const real ERFC_TABLE[] = {
    -4.928935225051238e-12, 2.0450836673044484e-10, -3.934477683770926e-09, 4.642531442054393e-08,
    -3.733215209911075e-07, 2.135781714011684e-06, -8.667604083306879e-06, 2.2823936344551602e-05,
    -2.027032159091199e-05, -0.00013504300789740116, 0.0007706315851123105, -0.0019159290426180445,
    0.0004106143925083383, 0.018990188468376305, -0.10270344450574162, -0.6366436263066693, -1.1283740898677446,
    -5.028098539785839e-07};
/* log(q), q = (1 - erf(x / sqrt 2)) / 2, for 0 <= x <= 8; it falls on beyond. Error of q relative to 1 - q (GELU's for
 * x > 0) 2^-53.7; relative to q itself (GELU's for x < 0) it grows to 2^-23 where q is 1e-15.                        */
static const real TAIL_TABLE[] = {
    -4.57796139918315e-18, 3.397507372264908e-16, -1.1737651780097436e-14, 2.5080154562326645e-13,
    -3.711919484810263e-12, 4.033764401292206e-11, -3.3213034417664376e-10, 2.097955401902273e-09,
    -1.0074592040410617e-08, 3.493074739409464e-08, -7.090202714370541e-08, -3.923033817138901e-08,
    8.901848611131705e-07, -2.817744975251891e-06, -1.6382433548228522e-06, 5.217023901083304e-05,
    -0.0002120292852027702, 3.6981585692210006e-05, 0.004782111621106807, -0.03633560234580234, -0.31830988618427364,
    -0.797884560802861, -0.6931471805599453};
#else
#define LN2_HIGH 0.693115234
#define LN2_LOW 3.19461833e-05
#define SMALLEST_NORMAL 1.17549435e-38
#define EXP_LOWEST -110.0
#define EXP_HIGHEST 90.0
#define ERF_LIMIT 4.0
#define TAIL_LIMIT 20.0

/* As above, errors 2^-28.3, 2^-27.7, 2^-29.6, 2^-29.8 (for 1 <= x <= 4) and 2^-29.3 (for 0 <= x <= 6; of q itself up to
 * 2^-15 where it is 1e-9).                                                                                          */
static const real EXP_TABLE[] = {0.00138144812, 0.00836878084, 0.0416683927, 0.166665196, 0.49999994};
static const real LOG_TABLE[] = {0.280249923, 0.279990405, 0.400217056, 0.666664124};
static const real ERF_TABLE[] = {
    7.85386073e-05, -0.000801019371, 0.00518832775, -0.0268538129, 0.112835854, -0.37612626, 0.128379166};
static const real ERFC_TABLE[] = {
    0.000186378966, -0.00294765597, 0.0218380541, -0.103106737, -0.638144851, -1.12708914, -0.000341526465};
static const real TAIL_TABLE[] = {
    -2.51323797e-08, 7.13941859e-07, -8.70786789e-06, 5.83583715e-05, -0.000208377067, 2.20434067e-05, 0.00479745818,
    -0.0363429561, -0.318308294, -0.797884703, -0.693147182};
#endif

#define TERMS(table) ((int)(sizeof(table) / sizeof(real)))
enum {
    EXP_TERMS = TERMS(EXP_TABLE),
    LOG_TERMS = TERMS(LOG_TABLE),
    ERF_TERMS = TERMS(ERF_TABLE),
    ERFC_TERMS = TERMS(ERFC_TABLE),
    TAIL_TERMS = TERMS(TAIL_TABLE)
};

#endif

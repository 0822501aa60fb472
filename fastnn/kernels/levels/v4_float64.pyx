# The kernels for level v4 in float64: the compiler's flags make the difference (setup.py).
include "../level.pxi"

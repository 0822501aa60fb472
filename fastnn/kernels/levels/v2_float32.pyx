# The kernels for level v2 in float32: the compiler's flags make the difference (setup.py).
include "../level.pxi"

# The kernels for level plain in float64: the compiler's flags make the difference (setup.py).
include "../level.pxi"

# The kernels for level plain in float32: the compiler's flags make the difference (setup.py).
include "../level.pxi"

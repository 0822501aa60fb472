# Whether an array looks as a prepared step expects it (repeated.py): asked of every array of every step.


def has_form(array, dtype, tuple shape) -> bool:
    """Whether it is a NumPy array, of no subclass, of that type and shape, C-contiguous and aligned."""
    cdef cnp.ndarray x
    cdef int axis
    if type(array) is not cnp.ndarray:
        return False
    x = array
    if x.ndim != len(shape) or not cnp.PyArray_ISCARRAY_RO(x) or (x.descr is not dtype and x.descr != dtype):
        return False
    for axis in range(x.ndim):
        if x.shape[axis] != <Py_ssize_t> shape[axis]:
            return False
    return True


cdef bint all_within(const floating *x, int64_t n, floating low, floating high) noexcept nogil:
    """Without branches, so that it becomes a loop over vectors; x - x is no 0 for infinity and NaN."""
    cdef int64_t i
    cdef int inside = 1
    for i in range(n):
        inside &= (low <= x[i]) & (x[i] <= high) & (x[i] - x[i] == 0)
    return inside


def lies_within(cnp.ndarray array, double low, double high) -> bool:
    """Whether all numbers of a float32 or float64 array in C order are finite and within the limits.

    Raises
    ------
    TypeError
        If they are of another type.
    """
    cdef void *data = cnp.PyArray_DATA(array)
    cdef int64_t n = cnp.PyArray_SIZE(array)
    cdef int type = array.descr.type_num
    cdef bint inside
    if type != cnp.NPY_FLOAT32 and type != cnp.NPY_FLOAT64:
        raise TypeError(f"limits are those of floats, got {array.dtype}")
    with nogil:
        if type == cnp.NPY_FLOAT32:
            inside = all_within(<float *> data, n, <float> low, <float> high)
        else:
            inside = all_within(<double *> data, n, low, high)
    return inside

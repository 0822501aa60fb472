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


cdef bint all_within(const floating *x, int64_t n, double low, double high) noexcept nogil:
    cdef int64_t i, outside = 0
    for i in range(n):
        outside += not (low <= x[i] and x[i] <= high and x[i] - x[i] == 0)
    return outside == 0


def lies_within(cnp.ndarray array, double low, double high) -> bool:
    """Whether all numbers of a float32 or float64 array in C order are finite and within the limits.

    Raises
    ------
    TypeError
        If they are of another type.
    """
    if array.descr.type_num == cnp.NPY_FLOAT32:
        return all_within(<float *> cnp.PyArray_DATA(array), array.size, low, high)
    if array.descr.type_num == cnp.NPY_FLOAT64:
        return all_within(<double *> cnp.PyArray_DATA(array), array.size, low, high)
    raise TypeError(f"limits are those of floats, got {array.dtype}")

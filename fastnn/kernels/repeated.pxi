# Runs that people ask for again and again, on arrays that look like the last ones: whether they do, and the way from
# there to the kernels, which is not interpreted.


cdef bint has_form(array, dtype, tuple shape, int leading=0) except -1:
    """Whether it is a NumPy array, of no subclass, of that type and shape, C-contiguous and aligned.

    `shape` is that of the axes after the `leading` ones.
    """
    cdef cnp.ndarray x
    cdef int axis
    if type(array) is not cnp.ndarray:
        return False
    x = array
    if x.ndim != leading + len(shape) or not cnp.PyArray_ISCARRAY_RO(x) or (x.descr is not dtype and x.descr != dtype):
        return False
    for axis in range(len(shape)):
        if x.shape[leading + axis] != <Py_ssize_t> shape[axis]:
            return False
    return True


cdef bint all_within(const floating *x, int64_t n, floating low, floating high) noexcept nogil:
    """Without branches, so that it becomes a loop over vectors; x - x is no 0 for infinity and NaN."""
    cdef int64_t i
    cdef int inside = 1
    for i in range(n):
        inside &= (low <= x[i]) & (x[i] <= high) & (x[i] - x[i] == 0)
    return inside


cdef bint lies_within(cnp.ndarray array, double low, double high) except -1:
    """Whether all numbers of an array in C order are finite and within the limits."""
    cdef void *data = cnp.PyArray_DATA(array)
    cdef int64_t n = cnp.PyArray_SIZE(array)
    cdef int type = array.descr.type_num
    cdef bint inside
    if type != cnp.NPY_FLOAT32 and type != cnp.NPY_FLOAT64:
        return low <= array.min() and array.max() <= high
    with nogil:
        if type == cnp.NPY_FLOAT32:
            inside = all_within(<float *> data, n, <float> low, <float> high)
        else:
            inside = all_within(<double *> data, n, low, high)
    return inside


cpdef tuple several(value):
    """A tuple's arrays, or the one that is given."""
    return value if type(value) is tuple else (value,)


cdef class StepAgain:
    """One step of a training, made again and again on arrays of the same forms.

    Parameters
    ----------
    runner
        The prepared Program of a step.
    network, objective
        Where the loss is noted, and the loss.
    layers
        Whoever freezes one of them asks for another Program.
    forms
        Of the inputs, the targets and sample weights, if any: (block, type, shape, limits of the values or None).
    n_inputs, n_targets
        How many of each there are.
    updates
        The number of steps made, one int64: what is run counts there.
    lock, changes
        The network's, held during a step; without a lock, the caller holds it.
    slots
        The run table's columns; in "loss" a step leaves its loss.
    refused
        The class of the exception by which the runner refuses operands.
    """

    cdef object network, objective, refused
    cdef readonly object runner
    cdef tuple layers, trainable
    cdef readonly list forms
    cdef Py_ssize_t n_inputs, n_targets
    cdef cnp.ndarray updates, row, table
    cdef int64_t first  # the step of the table's first row
    cdef Exclusive lock
    cdef Changes changes
    cdef int loss

    def __init__(self, *, runner, network, objective, tuple layers, list forms, Py_ssize_t n_inputs,
                 Py_ssize_t n_targets, cnp.ndarray updates, Exclusive lock, Changes changes not None, tuple slots,
                 refused):
        self.runner, self.network, self.objective, self.refused = runner, network, objective, refused
        self.layers, self.trainable = layers, tuple(layer.trainable for layer in layers)
        self.forms, self.n_inputs, self.n_targets = list(map(tuple, forms)), n_inputs, n_targets
        self.updates, self.lock, self.changes, self.loss = updates, lock, changes, slots.index("loss")
        self.row, self.table = np.empty((1, len(slots))), np.empty((0, len(slots)))

    def rows_ahead(self):
        """The run table of the next steps, as many as the caller likes to make at once."""
        raise NotImplementedError

    def run(self, x, y, sample_weight=None, dict outputs=None):
        """Makes the step and returns the loss before it; None, and nothing has happened, if it has to be another way.

        `outputs`, if given, are bound as well.

        Raises
        ------
        RuntimeError
            If the network is being trained by somebody else.
        """
        cdef dict bound = {}
        cdef Py_ssize_t n_arrays = self.n_inputs + self.n_targets, i
        if not (self.takes(bound, several(x), 0, self.n_inputs)
                and self.takes(bound, several(y), self.n_inputs, n_arrays)
                and self.takes(bound, () if sample_weight is None else (sample_weight,), n_arrays, len(self.forms))):
            return None
        for i in range(len(self.layers)):
            if self.layers[i].trainable is not self.trainable[i]:
                return None
        if outputs is not None:
            bound.update(outputs)
        if self.lock is None:
            return self.step(bound)
        self.lock.take(TRAINED_ALREADY)
        try:
            return self.step(bound)
        finally:
            self.lock.holder = 0

    cdef bint takes(self, dict bound, tuple arrays, Py_ssize_t first, Py_ssize_t last) except -1:
        """Whether the arrays have forms first ... last - 1; if so, they are noted by their blocks."""
        cdef Py_ssize_t i
        cdef tuple form, limits
        if len(arrays) != last - first:
            return False
        for i in range(last - first):
            form = self.forms[first + i]
            limits = form[3]
            if not has_form(arrays[i], form[1], form[2]):
                return False
            if limits is not None and not lies_within(arrays[i], limits[0], limits[1]):
                return False
            bound[form[0]] = arrays[i]
        return True

    cdef object step(self, dict bound):
        """The step itself, between the steps of others."""
        self.changes.enter()
        try:
            self.fill_row()
            self.network.objective = self.objective
            self.runner.run(self.row, bound, self.updates)
        except self.refused:  # the long way finds out why
            return None
        finally:
            self.changes.leave()
        return (<double *> cnp.PyArray_DATA(self.row))[self.loss]

    cdef int fill_row(self) except -1:
        """Takes the row for the next step from the table, which is made anew where that has none."""
        cdef int64_t step = (<int64_t *> cnp.PyArray_DATA(self.updates))[0]
        cdef size_t size = self.row.shape[1] * sizeof(double)
        if not 0 <= step - self.first < self.table.shape[0]:
            self.table, self.first = self.rows_ahead(), step
        memcpy(cnp.PyArray_DATA(self.row), cnp.PyArray_BYTES(self.table) + (step - self.first) * size, size)
        return 0


cdef class PredictAgain:
    """A forward pass of one input and one output, on plain arrays of any number of rows up to a limit.

    Parameters
    ----------
    runner
        The prepared Program.
    table
        Its run table, of which line n is the row for n rows.
    dtype, sample, result
        The type of input and output, and the shapes of a row of each.
    """

    cdef object runner, dtype
    cdef cnp.ndarray table, row
    cdef tuple sample
    cdef int type_number, ndim
    cdef cnp.npy_intp result[MAX_DIMS]
    cdef Py_ssize_t n  # of which `row` is the row

    def __init__(self, runner, cnp.ndarray table, dtype, tuple sample, tuple result):
        cdef int axis
        self.runner, self.table, self.dtype, self.sample = runner, table, dtype, sample
        self.type_number, self.ndim = dtype.num, len(result) + 1
        for axis in range(len(result)):
            self.result[axis + 1] = result[axis]
        self.n, self.row = 1, table[1:2]

    def run(self, x):
        """The prediction; None, and nothing has happened, if there is something to check or to convert."""
        cdef Py_ssize_t n
        if type(x) is not cnp.ndarray or (<cnp.ndarray> x).ndim == 0:
            return None
        n = (<cnp.ndarray> x).shape[0]
        if not 0 < n < self.table.shape[0] or not has_form(x, self.dtype, self.sample, 1):
            return None
        self.result[0] = n
        result = cnp.PyArray_EMPTY(self.ndim, self.result, self.type_number, 0)
        self.runner.run(self.row_of(n), {"input:x0": x, "output:y0": result})
        return result

    cdef cnp.ndarray row_of(self, Py_ssize_t n):
        """Most calls have as many rows as the last one."""
        if n != self.n:
            self.row, self.n = self.table[n : n + 1], n
        return self.row

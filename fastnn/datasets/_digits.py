"""The 1,797 handwritten digits of 8x8 pixels that the package carries in digits.npz.

Their source and licence stand in digits.md, which is also the description that the loader gives.
"""

from __future__ import annotations

import os

import numpy as np

from fastnn.datasets._dataset import Dataset

_HERE = os.path.dirname(__file__)


def digits(*, flatten: bool = True) -> Dataset:
    """Load the embedded handwritten digits: real, small, and there without a download.

    The test part is every fifth image (0, 5, 10, ... of the original order), 360 in all; the other 1,437 are for
    training.

    Parameters
    ----------
    flatten : bool, default True
        Give an image as a row of 64 pixels; if False, as 8 rows of 8 pixels of one channel.

    Returns
    -------
    Dataset
        `x_train` and `x_test` are float32 of shape (n, 64), or (n, 8, 8, 1) if not `flatten`. A pixel is the share of
        ink in a block of 4x4 points, in sixteenths: 0 is white and 1 is black. `y_train` and `y_test` are int64 of
        shape (n,): the digit, 0 to 9.

    References
    ----------
    E. Alpaydin and C. Kaynak, *Optical Recognition of Handwritten Digits*, UCI Machine Learning Repository, 1998,
    https://doi.org/10.24432/C50P49. CC BY 4.0.

    Examples
    --------
    >>> digits().x_train.shape, digits(flatten=False).x_test.shape
    ((1437, 64), (360, 8, 8, 1))
    """
    with np.load(os.path.join(_HERE, "digits.npz")) as archive:
        images, labels = archive["images"], archive["labels"]
    with open(os.path.join(_HERE, "digits.md"), encoding="utf-8") as file:
        description = file.read()
    x = np.divide(images, 16, dtype=np.float32).reshape((-1, 64) if flatten else (-1, 8, 8, 1))
    y = labels.astype(np.int64)
    test = np.arange(len(y)) % 5 == 0
    return Dataset("digits", x[~test], y[~test], x[test], y[test], tuple("0123456789"), description)

"""MNIST, the 70,000 handwritten digits of 28x28 pixels on which half the field has learned its trade.

The files are in the IDX format: a magic number, the sizes of the dimensions, then bytes.
"""

from __future__ import annotations

import math
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np

from fastnn.datasets._dataset import Dataset
from fastnn.datasets._files import DataFile, load

if TYPE_CHECKING:
    from numpy.typing import DTypeLike, NDArray

MIRRORS = (
    "https://ossci-datasets.s3.amazonaws.com/mnist/",
    "https://storage.googleapis.com/cvdf-datasets/mnist/",
)

_DESCRIPTION = """\
MNIST: handwritten digits, 60,000 for training and 10,000, by other writers, for testing, in the original order. Made by
Y. LeCun, C. Cortes and C. J. C. Burges from the Special Databases 1 and 3 of NIST; each digit is scaled into a box of
20x20 pixels and placed with its centre of mass in the middle of 28x28.

Source: Y. LeCun, L. Bottou, Y. Bengio and P. Haffner, "Gradient-based learning applied to document recognition",
Proceedings of the IEEE 86(11), 2278-2324, 1998. The data is not part of fastnn.
"""


def idx_file(name: str, shape: tuple[int, ...], md5: str) -> DataFile:
    """Describe an IDX file of unsigned bytes of the given shape and checksum."""
    return DataFile(name, 4 + 4 * len(shape) + math.prod(shape), md5, partial(decode_idx, shape=shape))


def decode_idx(content: bytes, shape: tuple[int, ...]) -> NDArray[np.uint8]:
    """View the content of an IDX file of unsigned bytes as an array.

    Parameters
    ----------
    content : bytes
        A big-endian header of 32-bit numbers, which are the magic number ``0x0800 + len(shape)`` and the shape; then
        the bytes.
    shape : tuple of int
        What the header must say.

    Returns
    -------
    ndarray of uint8
        Of that shape; read-only, sharing memory with `content`.

    Raises
    ------
    ValueError
        If the magic number, the shape in the header, or the length of the content is another.
    """
    start = 4 * (1 + len(shape))
    if len(content) < start:
        raise ValueError(f"an IDX header of {start} bytes was expected, but only {len(content)} bytes came")
    magic, *sizes = np.frombuffer(content[:start], dtype=">u4").tolist()
    if magic != 0x0800 + len(shape):
        raise ValueError(f"the IDX magic number {0x0800 + len(shape):#010x} was expected, {magic:#010x} came")
    if tuple(sizes) != shape:
        raise ValueError(f"an IDX array of shape {shape} was expected, {tuple(sizes)} came")
    expected, came = math.prod(shape), len(content) - start
    if came != expected:
        amount = "more" if came > expected else f"{came:,}"  # too long a content has been cut when it was unzipped
        raise ValueError(f"{expected:,} bytes after the IDX header were expected, {amount} came")
    return np.frombuffer(content, dtype=np.uint8, offset=start).reshape(shape)


_FILES = (
    idx_file("train-images-idx3-ubyte", (60_000, 28, 28), "6bbc9ace898e44ae57da46a324031adb"),
    idx_file("train-labels-idx1-ubyte", (60_000,), "a25bea736e30d166cdddb491f175f624"),
    idx_file("t10k-images-idx3-ubyte", (10_000, 28, 28), "2646ac647ad5339dbf082846283269ea"),
    idx_file("t10k-labels-idx1-ubyte", (10_000,), "27ae3e4e09519cfbb04c329615203637"),
)


def mnist(*, flatten: bool = True, dtype: DTypeLike = "float32") -> Dataset:
    r"""Load MNIST from disk, or download it (11.6 MB) once.

    Its four files are looked for, plain or gzipped, in ``$FASTNN_DATA/mnist``, then in the per-user cache
    (``$XDG_CACHE_HOME/fastnn/mnist`` or ``~/.cache/fastnn/mnist``; ``~/Library/Caches/fastnn/mnist`` on macOS,
    ``%LOCALAPPDATA%\\fastnn\\mnist`` on Windows). Those in neither are downloaded from public mirrors into the cache.
    Checksums are compared each time.

    Parameters
    ----------
    flatten : bool, default True
        Give an image as a row of 784 pixels; if False, as 28 rows of 28 pixels of one channel.
    dtype : {"float32", "uint8"}, default "float32"
        Type of the pixels: numbers from 0 (white) to 1 (black), or the bytes from 0 to 255, a quarter of the memory.

    Returns
    -------
    Dataset
        60,000 training and 10,000 test images, in the original order. `x_train` and `x_test` have shape (n, 784), or
        (n, 28, 28, 1) if not `flatten`. `y_train` and `y_test` are int64 of shape (n,): the digit, 0 to 9.

    Raises
    ------
    ValueError
        If `dtype` is another.
    DatasetError
        If a file in ``$FASTNN_DATA/mnist`` is damaged, or one is found nowhere; the message says where to put which.

    References
    ----------
    Y. LeCun, L. Bottou, Y. Bengio and P. Haffner, "Gradient-based learning applied to document recognition",
    Proceedings of the IEEE 86(11), 2278-2324, 1998.
    """
    pixel_type = _pixel_type(dtype)
    x_train, y_train, x_test, y_test = load("mnist", _FILES, MIRRORS)
    return Dataset(
        name="mnist",
        x_train=_pixels(x_train, pixel_type, flatten),
        y_train=y_train.astype(np.int64),
        x_test=_pixels(x_test, pixel_type, flatten),
        y_test=y_test.astype(np.int64),
        class_names=tuple("0123456789"),
        description=_DESCRIPTION,
    )


def _pixel_type(dtype: DTypeLike) -> type[np.float32 | np.uint8]:
    try:
        name = np.dtype(dtype).name
    except (TypeError, ValueError):
        name = ""
    if name == "float32":
        return np.float32
    if name == "uint8":
        return np.uint8
    raise ValueError(f"mnist: dtype must be 'float32' or 'uint8', not {dtype!r}")


def _pixels(images: NDArray[np.uint8], dtype: type[np.float32 | np.uint8], flatten: bool) -> NDArray[Any]:
    n, height, width = images.shape
    shaped = images.reshape((n, height * width) if flatten else (n, height, width, 1))
    return shaped.copy() if dtype is np.uint8 else np.divide(shaped, 255, dtype=np.float32)

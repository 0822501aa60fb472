"""What every loader returns: training and test arrays, and what is known about them.

Plain data, no behaviour.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from numpy.typing import NDArray


@dataclass(frozen=True, eq=False, repr=False)
class Dataset:
    """A data set, split into a training and a test part.

    The arrays belong to the caller, who may write to them: each call of a loader makes new ones.

    Attributes
    ----------
    name : str
        The name of the loader, such as ``"mnist"``.
    x_train, x_test : ndarray, shape (n, ...)
        Inputs, one example a row.
    y_train, y_test : ndarray, shape (n,)
        Labels, one an example: integer indices into `class_names`.
    class_names : tuple of str
        A name for each class, in the order of the labels.
    description : str
        What the data is, where it comes from, and under which terms.
    """

    name: str
    x_train: NDArray[Any]
    y_train: NDArray[Any]
    x_test: NDArray[Any]
    y_test: NDArray[Any]
    class_names: tuple[str, ...]
    description: str

    def __repr__(self) -> str:
        arrays = ("x_train", "y_train", "x_test", "y_test")
        shapes = ", ".join(f"{name}={_summary(getattr(self, name))}" for name in arrays)
        return f"Dataset({self.name!r}, {shapes}, {len(self.class_names)} classes)"


def _summary(array: NDArray[Any]) -> str:
    return f"{array.dtype}[{', '.join(str(size) for size in array.shape)}]"

"""The embedded digits, and what every data set has in common: the Dataset record and an import that costs nothing."""

from __future__ import annotations

import dataclasses
import hashlib
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import fastnn
from fastnn.datasets import digits


def test_digits_are_the_ones_of_the_source() -> None:
    path = Path(fastnn.datasets.__file__).with_name("digits.npz")
    with np.load(path) as archive:
        images, labels = archive["images"], archive["labels"]
    assert images.shape == (1797, 8, 8)
    assert images.dtype == np.uint8
    assert images.max() == 16
    assert np.bincount(labels).tolist() == [178, 182, 177, 183, 181, 182, 181, 179, 174, 180]
    sha256 = [hashlib.sha256(array.tobytes()).hexdigest() for array in (images, labels)]
    assert sha256 == [
        "8f26b2bd9d135c256808f68f14fdabddde6d9c7f869ae419704b051f0f14b3b3",
        "8ba4f891220f5e4c9c819638d1602d74b83618f167043c6da52a2a247841ddf0",
    ]
    assert path.stat().st_size < 60_000
    data = digits()
    test = np.arange(1797) % 5 == 0
    np.testing.assert_array_equal(data.x_test * 16, images[test].reshape(360, 64))
    np.testing.assert_array_equal(data.x_train * 16, images[~test].reshape(1437, 64))
    np.testing.assert_array_equal(data.y_test, labels[test])
    np.testing.assert_array_equal(data.y_train, labels[~test])


def test_digits_shapes_types_and_description() -> None:
    data, images = digits(), digits(flatten=False)
    assert data.x_train.shape == (1437, 64)
    assert data.x_test.shape == (360, 64)
    assert images.x_train.shape == (1437, 8, 8, 1)
    assert images.x_test.shape == (360, 8, 8, 1)
    np.testing.assert_array_equal(images.x_test.reshape(360, 64), data.x_test)
    assert data.x_train.dtype == data.x_test.dtype == np.float32
    assert data.y_train.dtype == data.y_test.dtype == np.int64
    assert data.x_train.min() == 0
    assert data.x_train.max() == 1
    assert data.class_names == tuple("0123456789")
    for substance in ("Alpaydin", "Kaynak", "CC BY 4.0", "10.24432/C50P49"):
        assert substance in data.description
    data.x_train[:] = 7  # each call gives new arrays
    assert digits().x_train.max() == 1


def test_dataset_is_frozen_and_shows_its_shapes() -> None:
    data = digits()
    with pytest.raises(dataclasses.FrozenInstanceError):
        data.x_train = data.x_test  # type: ignore[misc]
    assert repr(data) == (
        "Dataset('digits', x_train=float32[1437, 64], y_train=int64[1437], x_test=float32[360, 64], "
        "y_test=int64[360], 10 classes)"
    )


def test_import_is_light() -> None:
    code = """
import sys, types
import numpy
package = sys.modules["fastnn"] = types.ModuleType("fastnn")  # the rest of the package may import what it likes
package.__path__ = sys.argv[1:]
before = set(sys.modules)
import fastnn.datasets
heavy = {"urllib.request", "http.client", "ssl", "gzip", "hashlib", "zipfile", "tqdm", "pathlib", "tempfile"}
print(*heavy & (set(sys.modules) - before))
"""
    run = subprocess.run([sys.executable, "-c", code, *fastnn.__path__], capture_output=True, text=True, check=True)
    assert run.stdout.split() == []

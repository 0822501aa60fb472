"""Plots: what is drawn, that no text overlaps or leaves the figure, that nothing global changes, and clear errors."""

import functools
import subprocess
import sys
import warnings

import numpy as np
import pytest

from fastnn import plots

matplotlib = pytest.importorskip("matplotlib")
pytest.importorskip("matplotlib.style")
Text = pytest.importorskip("matplotlib.text").Text

RNG = np.random.default_rng(11)
NAMES = ["airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck"]


@pytest.fixture(autouse=True)
def _no_warnings():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        yield


def history(epochs, validation=True):
    steps = np.arange(epochs)
    curves = {"loss": 2.0 * np.exp(-steps / 5), "accuracy": 1 - 0.6 * np.exp(-steps / 3)}
    if validation:
        curves |= {"validation_loss": 0.1 + 2.0 * np.exp(-steps / 4) + 0.005 * steps}
        curves |= {"validation_accuracy": 0.97 - 0.5 * np.exp(-steps / 4)}
    measured = {name: values.tolist() for name, values in curves.items()}
    return measured | {"seconds": [0.04] * epochs, "learning_rate": [0.1] * epochs}


def counts(n, errors=3.0, right=900.0):
    matrix = RNG.poisson(errors, (n, n))
    np.fill_diagonal(matrix, RNG.poisson(right, n))
    return matrix


def misread(n=60, shape=(28, 28), wrong=0.5):
    true = RNG.integers(0, 10, n)
    predicted = (true + (RNG.random(n) < wrong)) % 10
    return RNG.random((n, *shape)), true, predicted, RNG.random(n)


DRAWINGS = {
    "curve, 30 epochs": lambda: plots.learning_curve(history(30)),
    "curve, 5 epochs": lambda: plots.learning_curve(history(5)),
    "curve, 1 epoch": lambda: plots.learning_curve(history(1)),
    "curve, no validation": lambda: plots.learning_curve(history(20, validation=False)),
    "curve, loss only": lambda: plots.learning_curve({"loss": [3.0, 2.0]}),
    "curve, four metrics": lambda: plots.learning_curve(history(9) | {"top_5": [0.5] * 9, "r2": [-2.0] * 9}),
    "curve, 2000 epochs": lambda: plots.learning_curve(history(2000) | {"seconds": [20.0] * 2000}),
    "curve, NaN": lambda: plots.learning_curve({"loss": [1.0, np.nan, 0.5], "validation_loss": [np.nan] * 3}),
    "matrix, 2 classes": lambda: plots.confusion_matrix([[5123, 37], [112, 4728]], ["benign", "malignant"]),
    "matrix, 10 classes": lambda: plots.confusion_matrix(counts(10)),
    "matrix, 10 names": lambda: plots.confusion_matrix(counts(10, right=60000), NAMES),
    "matrix, 26 classes": lambda: plots.confusion_matrix(counts(26), [chr(65 + index) for index in range(26)]),
    "matrix, 100 classes": lambda: plots.confusion_matrix(counts(100)),
    "matrix, no mistakes": lambda: plots.confusion_matrix(np.diag([3, 4, 0])),
    "matrix, 1 class": lambda: plots.confusion_matrix([[7]]),
    "weights, 64 of 8x8": lambda: plots.weights(RNG.normal(size=(64, 8, 8))),
    "weights, 30 of 28x28": lambda: plots.weights(RNG.normal(size=(30, 28, 28))),
    "weights, 100 of 512": lambda: plots.weights(RNG.normal(size=(512, 28, 28))),
    "weights, 1 unit": lambda: plots.weights(RNG.normal(size=(1, 5, 5))),
    "weights, flat": lambda: plots.weights(RNG.normal(size=(12, 4, 20))),
    "weights, tall": lambda: plots.weights(RNG.normal(size=(12, 20, 4))),
    "weights, all zero": lambda: plots.weights(np.zeros((6, 5, 5))),
    "mistakes, 24": lambda: plots.mistakes(*misread()),
    "mistakes, 8x8": lambda: plots.mistakes(*misread(30, (8, 8))),
    "mistakes, colours": lambda: plots.mistakes(*misread(shape=(32, 32, 3)), class_names=NAMES),
    "mistakes, 1": lambda: plots.mistakes(np.ones((2, 8, 8)), [1, 2], [1, 3]),
    "mistakes, none": lambda: plots.mistakes(np.ones((2, 8, 8)), [1, 2], [1, 2]),
}
each = pytest.mark.parametrize("name", DRAWINGS)


@functools.cache
def drawn(name):
    figure = DRAWINGS[name]()
    figure.canvas.draw()
    return figure


def pixels(figure):
    figure.canvas.draw()
    return np.array(figure.canvas.buffer_rgba())[..., :3]


def visible_texts(figure):
    """All pieces of text but the labels of ticks outside an axis's limits, which exist and are not drawn."""
    hidden = set()
    for axes in figure.axes:
        for axis in (axes.xaxis, axes.yaxis):
            low, high = sorted(axis.get_view_interval())
            for tick in [*axis.get_major_ticks(), *axis.get_minor_ticks()]:
                if not (axes.axison and low <= tick.get_loc() <= high):
                    hidden |= set(tick.findobj(Text))
    return [text for text in figure.findobj(Text) if text.get_visible() and text.get_text() and text not in hidden]


@each
def test_text_stays_inside_the_figure_and_apart(name):
    figure = drawn(name)
    texts = visible_texts(figure)
    assert texts
    boxes = np.array([text.get_window_extent().extents for text in texts])
    width, height = figure.bbox.size
    outside = (boxes[:, :2] < 0).any(axis=1) | (boxes[:, 2:] > (width, height)).any(axis=1)
    assert not outside.any(), [text.get_text() for text, out in zip(texts, outside, strict=True) if out]
    low, high = boxes[:, None, :2], boxes[:, None, 2:]
    overlap = (np.minimum(high, boxes[None, :, 2:]) - np.maximum(low, boxes[None, :, :2])).min(axis=2)
    slanted = np.array([text.get_rotation() % 90 != 0 for text in texts])  # whose boxes overlap where they do not
    overlap[np.ix_(slanted, slanted)] = 0.0
    np.fill_diagonal(overlap, 0.0)
    assert overlap.max() < 2.0, [texts[index].get_text() for index in np.argwhere(overlap >= 2.0)[0]]


@each
def test_something_is_drawn_on_white(name):
    picture = np.array(drawn(name).canvas.buffer_rgba())[..., :3]
    assert (picture[0] == 255).all()
    assert (picture[:, 0] == 255).all()
    assert (picture < 128).any()


@pytest.mark.parametrize("draw", [
    lambda: plots.learning_curve(history(6)),
    lambda: plots.confusion_matrix([[50, 3], [1, 40]]),
    lambda: plots.weights(np.linspace(-1, 1, 75).reshape(3, 5, 5)),
    lambda: plots.mistakes(np.ones((2, 8, 8)), [1, 2], [1, 3], [0.5, 0.5]),
], ids=["learning_curve", "confusion_matrix", "weights", "mistakes"])  # fmt: skip
def test_a_dark_style_changes_nothing(draw):
    """A user's style sheet must not turn the text white on white."""
    plain = pixels(draw())
    with matplotlib.style.context("dark_background"):
        dark = pixels(draw())
    assert (plain == dark).all()


def test_nothing_global_changes():
    code = (
        "import matplotlib, sys\n"
        "before = list(dict.items(matplotlib.rcParams))  # plain look-ups would choose a backend\n"
        "from fastnn import plots\n"
        "plots.learning_curve({'loss': [1.0, 0.5]})\n"
        "plots.confusion_matrix([[3, 1], [0, 4]])\n"
        "plots.weights([[[1.0, -1.0]]])\n"
        "plots.mistakes([[[1.0]]], [0], [1])\n"
        "assert 'matplotlib.pyplot' not in sys.modules\n"
        "assert list(dict.items(matplotlib.rcParams)) == before\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_importing_the_small_modules_stays_light():
    code = (
        "import sys, fastnn.initializers, fastnn.schedules, fastnn.metrics, fastnn.plots, fastnn.callbacks\n"
        "heavy = {'matplotlib', 'scipy', 'sklearn', 'torch', 'PIL'} & set(sys.modules)\n"
        "sys.exit(f'imported {heavy}' if heavy else 0)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("suffix, magic", [("png", b"\x89PNG"), ("svg", b"<?xml"), ("pdf", b"%PDF")])
def test_path_saves_in_the_format_of_its_suffix(tmp_path, suffix, magic):
    path = tmp_path / f"curve.{suffix}"
    figure = plots.learning_curve(history(4), path=path)
    assert path.read_bytes().startswith(magic)
    assert isinstance(figure, matplotlib.figure.Figure)
    plots.weights(np.ones((1, 2, 2)), path=str(tmp_path / "weights.png"))
    assert (tmp_path / "weights.png").stat().st_size > 1000


@pytest.mark.parametrize("call", [
    lambda: plots.learning_curve({"loss": [1.0]}),
    lambda: plots.confusion_matrix([[1]]),
    lambda: plots.weights(np.ones((1, 2, 2))),
    lambda: plots.mistakes(np.ones((1, 2, 2)), [0], [1]),
], ids=["learning_curve", "confusion_matrix", "weights", "mistakes"])  # fmt: skip
def test_without_matplotlib_the_error_says_how_to_get_it(monkeypatch, call):
    for name in [name for name in sys.modules if name.split(".")[0] == "matplotlib"]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    with pytest.raises(ImportError, match=r"pip install '\.\[plots\]'"):
        call()


# ---- what the figures say


def words(figure):
    return [text.get_text() for text in figure.findobj(matplotlib.text.Text) if text.get_text()]


def test_learning_curve_shows_every_curve_and_rings_the_best_epoch():
    record = history(30)
    figure = plots.learning_curve(record)
    loss, accuracy = figure.axes
    np.testing.assert_allclose(loss.lines[0].get_ydata(), record["loss"])
    np.testing.assert_allclose(loss.lines[1].get_ydata(), record["validation_loss"])
    np.testing.assert_allclose(accuracy.lines[0].get_ydata(), 100 * np.array(record["accuracy"]))
    np.testing.assert_array_equal(loss.lines[0].get_xdata(), np.arange(1, 31))
    best = int(np.argmin(record["validation_loss"]))
    assert loss.lines[2].get_xdata() == [best + 1]
    assert f"best validation: {record['validation_loss'][best]:.4g}, epoch {best + 1}" in words(figure)
    assert accuracy.lines[2].get_xdata() == [30]
    assert (loss.get_xlabel(), loss.get_ylabel(), accuracy.get_ylabel()) == ("epoch", "loss", "accuracy (%)")
    assert loss.get_yscale() == "log"
    assert accuracy.get_yscale() == "linear"
    assert "Learning curve: 30 epochs in 1.2 s" in words(figure)


def test_confusion_matrix_counts_and_recalls():
    said = words(plots.confusion_matrix([[8, 2], [0, 5]], ["cat", "dog"]))
    for expected in ("8", "2", "5", "80.0 %", "100.0 %", "cat", "dog", "true class", "predicted class",
                     "13 of 15 classified correctly (86.67 %)"):  # fmt: skip
        assert expected in said
    assert "0" not in said


def test_weights_are_centred_on_zero_and_share_a_scale():
    values = RNG.normal(size=(7, 4, 6))
    figure = plots.weights(values)
    image = figure.axes[0].images[0]
    low, high = image.get_clim()
    assert high == -low == np.percentile(np.abs(values), 99.5)
    drawn = np.asarray(image.get_array().filled(np.nan))
    np.testing.assert_array_equal(np.sort(drawn[np.isfinite(drawn)]), np.sort(values.ravel()))
    assert {str(index) for index in range(7)} <= set(words(figure))
    middle = image.cmap(0.5)[:3]
    assert min(middle) > 0.9  # zero is white


def test_the_most_confident_mistakes_come_first():
    images = np.stack([np.full((3, 3), value) for value in (0.1, 0.2, 0.3, 0.4)])
    figure = plots.mistakes(images, [0, 1, 2, 3], [0, 2, 3, 0], [0.99, 0.5, 0.9, 0.7], limit=2)
    said = words(figure)
    assert "3 of 4 images misread (2 shown, most confident first)" in said
    assert [word for word in said if "read as" in word] == ["2 read as 3", "3 read as 0"]
    assert [word for word in said if "sure" in word] == ["90.0 % sure", "70.0 % sure"]
    drawn = figure.axes[0].images[0].get_array()
    assert set(np.unique(drawn.compressed())) == {0.3, 0.4}


def test_probabilities_of_all_classes_are_looked_up():
    table = np.array([[0.1, 0.9], [0.6, 0.4]])
    said = words(plots.mistakes(np.ones((2, 3, 3)), [0, 1], [1, 0], table))
    assert [word for word in said if "sure" in word] == ["90.0 % sure", "60.0 % sure"]


BAD = {
    "empty history": (lambda: plots.learning_curve({}), "history is empty"),
    "no epochs": (lambda: plots.learning_curve({"loss": []}), "history is empty"),
    "lengths": (lambda: plots.learning_curve({"loss": [1, 2], "mae": [1]}), "loss 2, mae 1"),
    "not square": (lambda: plots.confusion_matrix([[1, 2]]), r"square, got shape \(1, 2\)"),
    "negative": (lambda: plots.confusion_matrix([[1, -2], [0, 1]]), "not negative"),
    "no counts": (lambda: plots.confusion_matrix(np.zeros((2, 2))), "not all zero"),
    "names": (lambda: plots.confusion_matrix(np.eye(3), ["a", "b"]), "3 classes need 3 names, got 2"),
    "flat weights": (lambda: plots.weights(np.ones((30, 784))), r"\(units, height, width\), got \(30, 784\)"),
    "NaN weights": (lambda: plots.weights(np.full((1, 2, 2), np.nan)), "NaN or infinity"),
    "no weights": (lambda: plots.weights(np.ones((0, 2, 2))), "expected shape"),
    "limit": (lambda: plots.weights(np.ones((1, 2, 2)), limit=0), "limit must be at least 1"),
    "flat images": (lambda: plots.mistakes(np.ones((3, 784)), [1], [2]), r"got \(3, 784\)"),
    "no images": (lambda: plots.mistakes(np.ones((0, 8, 8)), [], []), r"got \(0, 8, 8\)"),
    "two channels": (lambda: plots.mistakes(np.ones((1, 8, 8, 2)), [1], [2]), "1 or 3"),
    "classes": (lambda: plots.mistakes(np.ones((2, 8, 8)), [1], [1, 2]), r"shape \(2,\), got \(1,\) and \(2,\)"),
    "probabilities": (lambda: plots.mistakes(np.ones((2, 8, 8)), [1, 1], [1, 2], [0.5]), r"\(2, classes\), got \(1,\)"),
    "too few names": (lambda: plots.mistakes(np.ones((1, 8, 8)), [1], [2], class_names="ab"), "class 2 has no name"),
}


@pytest.mark.parametrize("call, message", BAD.values(), ids=BAD)
def test_wrong_calls_are_clear_errors(call, message):
    with pytest.raises(ValueError, match=message):
        call()

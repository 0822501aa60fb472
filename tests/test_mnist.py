"""MNIST from a folder, from the cache, and from mirrors that fail in every way known to us.

The mirrors are those of mirrors.py. What needs the real MNIST reads it from FASTNN_DATA.
"""

from __future__ import annotations

import gzip
import hashlib
import io
import json
import os
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from mirrors import BAD, Contents, Mirrors, flipped, respond
from numpy.typing import NDArray

import fastnn
from fastnn.datasets import Dataset, DatasetError, _files, _mnist, mnist

DATA_FOLDER = os.path.expanduser(os.environ.get("FASTNN_DATA", ""))  # read before a fixture takes it away
REAL_FILES = _mnist._FILES
NAMES = [file.name for file in REAL_FILES]
SHAPES = {NAMES[0]: (30, 28, 28), NAMES[1]: (30,), NAMES[2]: (10, 28, 28), NAMES[3]: (10,)}

Use = Callable[..., None]


def idx(array: NDArray[np.uint8]) -> bytes:
    """Write an IDX file."""
    return np.array([0x0800 + array.ndim, *array.shape], dtype=">u4").tobytes() + array.tobytes()


def kept(cache: Path) -> Contents:
    """Unzip everything in the cache, which must be gzipped."""
    return {path.name.removesuffix(".gz"): gzip.decompress(path.read_bytes()) for path in cache.iterdir()}


def refusal() -> str:
    """Call mnist(), which must fail, and return the message."""
    with pytest.raises(DatasetError) as caught:
        mnist()
    return str(caught.value)


# ---------------------------------------------------------------------------------------------------------- fixtures


@pytest.fixture(autouse=True)
def cache(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """Keep every test off the network, the user's cache and the user's data; return the folder of the cache."""
    for variable in list(os.environ):
        if variable.lower().endswith("_proxy") or variable == "FASTNN_DATA":
            monkeypatch.delenv(variable)
    for variable in ("HOME", "XDG_CACHE_HOME", "LOCALAPPDATA"):
        monkeypatch.setenv(variable, str(tmp_path / "cache"))
    monkeypatch.setattr(_mnist, "MIRRORS", ())
    return Path(_files.cache_folder("mnist"))


@pytest.fixture
def contents(monkeypatch: pytest.MonkeyPatch) -> Contents:
    """A small collection in place of MNIST: each file's name and unzipped content."""
    rng = np.random.default_rng(0)
    made = {name: idx(rng.integers(0, 256, shape, dtype=np.uint8)) for name, shape in SHAPES.items()}
    files = tuple(_mnist.idx_file(name, SHAPES[name], hashlib.md5(made[name]).hexdigest()) for name in NAMES)
    monkeypatch.setattr(_mnist, "_FILES", files)
    return made


@pytest.fixture
def own(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, contents: Contents) -> Path:
    """FASTNN_DATA's folder for MNIST, with the small collection in it, gzipped."""
    folder = tmp_path / "data" / "mnist"
    folder.mkdir(parents=True)
    for name, content in contents.items():
        (folder / f"{name}.gz").write_bytes(gzip.compress(content))
    monkeypatch.setenv("FASTNN_DATA", str(tmp_path / "data"))
    return folder


@pytest.fixture
def real() -> Path:
    """The folder of the real MNIST."""
    if not DATA_FOLDER:
        pytest.skip("FASTNN_DATA is not set")
    folder = Path(DATA_FOLDER, "mnist")
    missing = [name for name in NAMES if not (folder / name).exists() and not (folder / f"{name}.gz").exists()]
    if missing:
        pytest.fail(f"FASTNN_DATA is set, but {folder} lacks {', '.join(missing)}")
    return folder


@pytest.fixture
def server(contents: Contents) -> Iterator[Mirrors]:
    """Serve the small collection."""
    with Mirrors(contents) as running:
        thread = threading.Thread(target=running.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        yield running
        running.shutdown()
        thread.join()


@pytest.fixture
def use(monkeypatch: pytest.MonkeyPatch) -> Use:
    """Give a function that takes the URLs of the mirrors to use."""
    return lambda *urls: monkeypatch.setattr(_mnist, "MIRRORS", urls)


def assert_small_collection(data: Dataset, contents: Contents) -> None:
    arrays = [data.x_train, data.y_train, data.x_test, data.y_test]
    for array, content, shape in zip(arrays, contents.values(), SHAPES.values(), strict=True):
        stored = np.frombuffer(content, np.uint8)[-array.size :]
        expected = (stored / 255).astype(np.float32) if array.ndim == 2 else stored
        np.testing.assert_array_equal(array.ravel(), expected)
        assert array.dtype == (np.float32 if array.ndim == 2 else np.int64)
        assert array.shape == ((shape[0], 784) if array.ndim == 2 else shape)


# -------------------------------------------------------------------------------------------------------- the user's


def test_own_folder_is_read_without_a_download(own: Path, contents: Contents, cache: Path) -> None:
    data = mnist()
    assert_small_collection(data, contents)
    assert data.class_names == tuple("0123456789")
    assert "LeCun" in data.description
    assert not cache.exists()


@pytest.mark.parametrize("dtype", ["uint8", np.uint8, np.dtype("uint8"), np.float32])
def test_shapes_and_types(own: Path, dtype: Any) -> None:
    images, rows = mnist(flatten=False, dtype=dtype), mnist(dtype=dtype)
    assert images.x_train.shape == (30, 28, 28, 1)
    assert images.x_test.shape == (10, 28, 28, 1)
    assert rows.x_train.shape == (30, 784)
    assert rows.x_train.dtype == np.dtype(dtype)
    np.testing.assert_array_equal(images.x_train.reshape(30, 784), rows.x_train)
    assert all(array.flags.writeable for array in (rows.x_train, rows.y_train, rows.x_test, rows.y_test))
    assert rows.x_train.max() == (255 if rows.x_train.dtype == np.uint8 else 1)


@pytest.mark.parametrize("dtype", ["int3", "float64", None, 3, {}])
def test_wrong_dtype(own: Path, dtype: Any) -> None:
    with pytest.raises(ValueError, match=r"mnist: dtype must be 'float32' or 'uint8', not "):
        mnist(dtype=dtype)


def test_plain_files_and_wrongly_named_ones_are_read(own: Path, contents: Contents) -> None:
    (own / f"{NAMES[0]}.gz").rename(own / NAMES[0])  # gzipped, but named as if it were not
    (own / f"{NAMES[1]}.gz").write_bytes(contents[NAMES[1]])  # the reverse, as some browsers leave it
    (own / f"{NAMES[2]}.gz").unlink()
    (own / NAMES[2]).write_bytes(contents[NAMES[2]])
    assert_small_collection(mnist(), contents)


DAMAGE: dict[str, tuple[Callable[[bytes], bytes], str]] = {
    "truncated gzip": (lambda x: gzip.compress(x)[:-20], "the gzip data is damaged"),
    "flipped bit in gzip": (lambda x: flipped(gzip.compress(x)), "the gzip data is damaged"),
    "longer gzip": (lambda x: gzip.compress(x + b"x"), "23,520 bytes after the IDX header were expected, more came"),
    "flipped bit": (flipped, "the content is damaged: md5"),
    "truncated": (lambda x: x[:-1], "23,520 bytes after the IDX header were expected, 23,519 came"),
    "longer": (lambda x: x + b"x", "23,520 bytes after the IDX header were expected, more came"),
    "empty": (lambda x: b"", "an IDX header of 16 bytes was expected, but only 0 bytes came"),
    "magic": (lambda x: b"\0\0\x0d\x03" + x[4:], "the IDX magic number 0x00000803 was expected, 0x00000d03 came"),
    "count": (lambda x: x[:7] + b"\x1d" + x[8:], "an IDX array of shape (30, 28, 28) was expected, (29, 28, 28) came"),
}


@pytest.mark.parametrize("damage", DAMAGE)
def test_damaged_own_file_is_an_error(damage: str, own: Path, contents: Contents, server: Mirrors, use: Use) -> None:
    harm, substance = DAMAGE[damage]
    path = own / f"{NAMES[0]}.gz"
    path.write_bytes(harm(contents[NAMES[0]]))
    use(server.url("good"))
    assert refusal().startswith(f"{path}: {substance}")
    assert server.requests == []
    assert path.exists()


def test_unzipping_stops_soon_after_the_expected_size() -> None:
    assert len(_files._unzip(gzip.compress(bytes(1 << 20)), 100)) == 101


def test_a_home_folder_is_expanded(own: Path, contents: Contents, monkeypatch: pytest.MonkeyPatch) -> None:
    for variable in ("HOME", "USERPROFILE"):
        monkeypatch.setenv(variable, str(own.parent.parent))
    monkeypatch.setenv("FASTNN_DATA", f"~/{own.parent.name}")
    assert_small_collection(mnist(), contents)


def test_unreadable_own_file_is_an_error(own: Path) -> None:
    (own / NAMES[3]).mkdir()
    assert refusal().startswith(f"{own / NAMES[3]} cannot be read: ")


# ----------------------------------------------------------------------------------------------------------- mirrors


def test_download_once(contents: Contents, server: Mirrors, cache: Path, use: Use) -> None:
    use(server.url("good"))
    assert_small_collection(mnist(), contents)
    assert server.requests == [("good", f"{name}.gz") for name in NAMES]
    assert_small_collection(mnist(), contents)
    assert len(server.requests) == 4
    assert kept(cache) == contents


@pytest.mark.parametrize("behaviour", BAD)
def test_a_bad_mirror_leaves_nothing_behind_and_is_passed_over(
    behaviour: str, contents: Contents, server: Mirrors, cache: Path, use: Use, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_files, "TIMEOUT", 1.0)
    use(server.url(behaviour))
    reported = refusal().splitlines()[-1]
    assert reported.startswith(f"    {server.url(behaviour)}{NAMES[0]}.gz: ")
    assert BAD[behaviour][1] in reported
    assert not cache.exists()
    server.requests.clear()
    use(server.url(behaviour), server.url("good"))
    assert_small_collection(mnist(), contents)
    assert server.requests == [(behaviour, f"{NAMES[0]}.gz"), *(("good", f"{name}.gz") for name in NAMES)]
    assert kept(cache) == contents


def test_only_what_is_missing_is_downloaded(
    own: Path, contents: Contents, server: Mirrors, cache: Path, use: Use
) -> None:
    (own / f"{NAMES[2]}.gz").unlink()
    use(server.url("good"))
    assert_small_collection(mnist(), contents)
    assert server.requests == [("good", f"{NAMES[2]}.gz")]
    assert kept(cache) == {NAMES[2]: contents[NAMES[2]]}


def test_damaged_cache_is_replaced(contents: Contents, server: Mirrors, cache: Path, use: Use) -> None:
    use(server.url("good"))
    mnist()
    damaged = cache / f"{NAMES[0]}.gz"
    damaged.write_bytes(damaged.read_bytes()[:100])
    use()
    assert f"    {damaged}: the gzip data is damaged" in refusal()
    use(server.url("good"))
    assert_small_collection(mnist(), contents)
    assert len(server.requests) == 5
    assert kept(cache) == contents


def test_content_unzipped_on_the_way_is_kept_under_its_plain_name(
    contents: Contents, server: Mirrors, cache: Path, use: Use
) -> None:
    server.behaviours["plain"] = lambda h, body: respond(h, gzip.decompress(body))
    use(server.url("plain"))
    assert_small_collection(mnist(), contents)
    assert {path.name for path in cache.iterdir()} == set(NAMES)


def test_offline_without_a_folder(contents: Contents, cache: Path, use: Use) -> None:
    with socket.create_server(("127.0.0.1", 0)) as closed:
        mirror = f"http://127.0.0.1:{closed.getsockname()[1]}/"  # nobody will be listening there
    use(mirror)
    lines = refusal().splitlines()
    assert lines[0].startswith("mnist: 4 file(s) ")
    assert lines[2:6] == [f"    {cache / name}" for name in NAMES]
    assert lines[6].startswith("Or set the environment variable FASTNN_DATA, which is not set, ")
    assert lines[8].startswith(f"    {mirror}{NAMES[0]}.gz: URLError")


@pytest.mark.parametrize("exists", [True, False])
def test_offline_with_a_folder_that_lacks_files(
    contents: Contents, cache: Path, tmp_path: Path, exists: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "mine" / "mnist"
    if exists:
        folder.mkdir(parents=True)
        (folder / NAMES[0]).write_bytes(contents[NAMES[0]])
    monkeypatch.setenv("FASTNN_DATA", str(folder.parent))
    lines = refusal().splitlines()
    missing = NAMES[1:] if exists else NAMES
    assert lines[0].startswith(f"mnist: {len(missing)} file(s) ")
    assert lines[2:-2] == [f"    {folder / name}" for name in missing]
    assert lines[-2] == f"FASTNN_DATA is {str(folder.parent)!r}; the folder {cache} would do as well."


def test_a_cache_that_cannot_be_written_is_a_warning(
    contents: Contents, server: Mirrors, tmp_path: Path, use: Use
) -> None:
    use(server.url("good"))
    (tmp_path / "cache").write_bytes(b"a file where the folder should be")
    with pytest.warns(RuntimeWarning, match="will be downloaded again next time") as caught:
        data = mnist()
    assert_small_collection(data, contents)
    assert len(caught) == 4
    assert caught[0].filename == __file__


def test_interrupted_writing_leaves_nothing_behind(
    server: Mirrors, cache: Path, use: Use, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupt(source: str, target: str) -> None:
        assert [Path(source)] == list(cache.iterdir())
        assert Path(target) == cache / f"{NAMES[0]}.gz"
        raise KeyboardInterrupt

    use(server.url("good"))
    monkeypatch.setattr(os, "replace", interrupt)
    with pytest.raises(KeyboardInterrupt):
        mnist()
    assert list(cache.iterdir()) == []


def test_two_threads_that_write_at_once(
    contents: Contents, server: Mirrors, cache: Path, use: Use, monkeypatch: pytest.MonkeyPatch
) -> None:
    meeting, replace, sources = threading.Barrier(2), os.replace, set()

    def replace_together(source: str, target: str) -> None:
        sources.add(source)
        meeting.wait(timeout=60)  # both have written the same file, and neither has renamed it
        replace(source, target)

    use(server.url("good"))
    monkeypatch.setattr(os, "replace", replace_together)
    with ThreadPoolExecutor(2) as pool:
        for running in [pool.submit(mnist), pool.submit(mnist)]:
            assert_small_collection(running.result(), contents)
    assert len(sources) == 8
    assert kept(cache) == contents


def test_two_processes_at_once(contents: Contents, server: Mirrors, cache: Path) -> None:
    meeting = threading.Barrier(2)

    def together(handler: BaseHTTPRequestHandler, body: bytes) -> None:
        respond(handler, body[:9], len(body))
        meeting.wait(timeout=60)  # both are in the middle of the same file
        handler.wfile.write(body[9:])

    server.behaviours["together"] = together
    code = """
import json, sys
from fastnn.datasets import _mnist
mirror, files = json.loads(sys.argv[1])
_mnist.MIRRORS = (mirror,)
_mnist._FILES = tuple(_mnist.idx_file(name, tuple(shape), md5) for name, shape, md5 in files)
print(int(_mnist.mnist(dtype="uint8").x_train.sum(dtype=int)))
"""
    files = [(file.name, SHAPES[file.name], file.md5) for file in _mnist._FILES]
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(str(Path(path).parent) for path in fastnn.__path__)}
    command = [sys.executable, "-c", code, json.dumps([server.url("together"), files])]
    processes = [
        subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment)
        for _ in range(2)
    ]
    results = [process.communicate(timeout=120) for process in processes]
    expected = sum(contents[NAMES[0]][16:])
    assert results == [(f"{expected}\n", "")] * 2
    assert len(server.requests) == 8
    assert kept(cache) == contents


@pytest.mark.parametrize("watched", [True, False])
def test_progress_only_on_a_terminal(watched: bool, server: Mirrors, use: Use, monkeypatch: pytest.MonkeyPatch) -> None:
    stderr = io.StringIO()
    monkeypatch.setattr(stderr, "isatty", lambda: watched, raising=False)
    monkeypatch.setattr(sys, "stderr", stderr)
    use(server.url("good"))
    mnist()
    shown = stderr.getvalue()
    assert all(name in shown for name in NAMES) if watched else shown == ""


@pytest.mark.parametrize(
    ("platform", "variables", "expected"),
    [
        ("linux", {"XDG_CACHE_HOME": "/xdg"}, "/xdg/fastnn/mnist"),
        ("linux", {"XDG_CACHE_HOME": "relative"}, "/home/me/.cache/fastnn/mnist"),
        ("linux", {}, "/home/me/.cache/fastnn/mnist"),
        ("darwin", {"XDG_CACHE_HOME": "/xdg"}, "/home/me/Library/Caches/fastnn/mnist"),
        ("win32", {"LOCALAPPDATA": "/local"}, "/local/fastnn/mnist"),
        ("win32", {}, "/home/me/AppData/Local/fastnn/mnist"),
    ],
)
def test_cache_folder(platform: str, variables: dict[str, str], expected: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "platform", platform)
    for variable in ("XDG_CACHE_HOME", "LOCALAPPDATA"):
        monkeypatch.delenv(variable, raising=False)
    for variable, value in {"HOME": "/home/me", **variables}.items():
        monkeypatch.setenv(variable, value)
    assert _files.cache_folder("mnist") == expected


# -------------------------------------------------------------------------------------------------------- real MNIST


def test_real_mnist(real: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FASTNN_DATA", str(real.parent))
    data = mnist()
    assert data.x_train.shape == (60_000, 784)
    assert data.x_test.shape == (10_000, 784)
    assert data.x_train.dtype == np.float32
    assert data.y_train.dtype == np.int64
    assert data.y_train[:8].tolist() == [5, 0, 4, 1, 9, 2, 1, 3]
    assert data.y_test[:8].tolist() == [7, 2, 1, 0, 4, 1, 4, 9]
    assert np.bincount(data.y_train).tolist() == [5923, 6742, 5958, 6131, 5842, 5421, 5918, 6265, 5851, 5949]
    assert np.bincount(data.y_test).tolist() == [980, 1135, 1032, 1010, 982, 892, 958, 1028, 974, 1009]
    assert data.x_train.min() == 0
    assert data.x_train.max() == 1
    assert data.x_train.mean(dtype=np.float64) == pytest.approx(0.1307, abs=5e-5)
    assert data.x_train.std(dtype=np.float64) == pytest.approx(0.3081, abs=5e-5)


def test_real_mnist_by_download(real: Path, server: Mirrors, cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_mnist, "_FILES", REAL_FILES)
    monkeypatch.setattr(_mnist, "MIRRORS", (server.url("interrupted"), server.url("good")))
    for name in NAMES:
        plain, packed = real / name, real / f"{name}.gz"
        server.bodies[packed.name] = packed.read_bytes() if packed.exists() else gzip.compress(plain.read_bytes())
    data = mnist(flatten=False, dtype="uint8")
    assert data.x_train.shape == (60_000, 28, 28, 1)
    assert data.x_train.dtype == np.uint8
    assert len(server.requests) == 5
    assert kept(cache).keys() == set(NAMES)

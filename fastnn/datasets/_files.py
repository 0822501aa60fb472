"""Where the files of a data set come from: the user's own folder, then a per-user cache, then mirrors on the web.

Nothing is believed before its checksum has been seen, and nothing unverified is ever written. The loaders share this.
"""

from __future__ import annotations

import os
import sys
import time
import warnings
from collections import deque
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    import numpy as np
    from numpy.typing import NDArray

FOLDER_VARIABLE = "FASTNN_DATA"  # names a folder of the user's own; a collection's files are in a subfolder of its name
TIMEOUT = 15.0  # seconds of silence after which a mirror is given up
SLOWEST = 4096  # bytes a second; a mirror that stays below it on average is given up, too
_BLOCK = 1 << 16  # bytes read at once
_GZIP_MAGIC = b"\x1f\x8b"


class DatasetError(OSError):
    """A file of a data set is damaged, or is neither on this machine nor to be had from a mirror."""


@dataclass(frozen=True)
class DataFile:
    """One file of a collection, and how to know that it is sound.

    Attributes
    ----------
    name : str
        Its name, without ``.gz``.
    size : int
        Bytes, unzipped.
    md5 : str
        Hexadecimal digest of the unzipped content.
    decode : callable
        Makes an array of the unzipped content, or raises ValueError saying what was expected and what came.
    """

    name: str
    size: int
    md5: str
    decode: Callable[[bytes], NDArray[np.uint8]]

    def open(self, raw: bytes) -> NDArray[np.uint8]:
        """Unzip (where needed), decode and verify.

        The format is looked at before the checksum, since it can say what is wrong rather than that something is.

        Raises
        ------
        ValueError
            If `raw` is not this file, whole and unchanged.
        """
        from hashlib import md5

        content = _unzip(raw, self.size) if raw.startswith(_GZIP_MAGIC) else raw
        array = self.decode(content)
        digest = md5(content, usedforsecurity=False).hexdigest()
        if digest != self.md5:
            raise ValueError(f"the content is damaged: md5 {self.md5} was expected, {digest} came")
        return array


def load(collection: str, files: Sequence[DataFile], mirrors: Sequence[str]) -> list[NDArray[np.uint8]]:
    """Read the files of a collection, downloading those that this machine lacks.

    A file is looked for, plain and gzipped, in ``$FASTNN_DATA/<collection>``, then in the per-user cache. What is in
    neither is downloaded, gzipped, from the first mirror that delivers it whole, and kept in the cache. A damaged file
    in the user's own folder is an error; one in the cache is replaced.

    Parameters
    ----------
    collection : str
        The name of the folder, such as ``"mnist"``.
    files : sequence of DataFile
        What to read.
    mirrors : sequence of str
        URLs to which a file's name and ``.gz`` are appended.

    Returns
    -------
    list of ndarray
        What each file's `decode` made of it, in the order of `files`; read-only.

    Raises
    ------
    DatasetError
        If a file in the user's own folder is damaged, or if one is found nowhere; the message says where to put which.

    Warns
    -----
    RuntimeWarning
        If a downloaded file cannot be written to the cache. It is used all the same.
    """
    failures: list[str] = []
    arrays: dict[str, NDArray[np.uint8]] = {}
    for file in files:
        array = _read(collection, file, failures)
        if array is not None:
            arrays[file.name] = array
    queue = deque(mirrors)
    for file in files:
        if file.name in arrays:
            continue
        fetched = _fetch(file, queue, failures)
        if fetched is None:
            missing = [other.name for other in files if other.name not in arrays]
            raise DatasetError(_advice(collection, missing, failures))
        raw, arrays[file.name] = fetched
        try:
            _keep(cache_folder(collection), file.name + (".gz" if raw.startswith(_GZIP_MAGIC) else ""), raw)
        except OSError as error:
            warnings.warn(
                f"{file.name} will be downloaded again next time, for it could not be kept: {error}",
                RuntimeWarning,
                stacklevel=3,
            )
    return [arrays[file.name] for file in files]


def own_folder(collection: str) -> str | None:
    """Return the collection's folder under ``$FASTNN_DATA``, or None where that is unset or empty."""
    root = os.environ.get(FOLDER_VARIABLE)
    return os.path.join(os.path.expanduser(root), collection) if root else None


def cache_folder(collection: str) -> str:
    """Return the folder that keeps what was downloaded, by the customs of the platform; it need not exist."""
    home = os.path.expanduser("~")
    if sys.platform == "win32":
        root = os.environ.get("LOCALAPPDATA") or os.path.join(home, "AppData", "Local")
    elif sys.platform == "darwin":
        root = os.path.join(home, "Library", "Caches")
    else:
        root = os.environ.get("XDG_CACHE_HOME", "")
        if not os.path.isabs(root):  # the XDG specification: ignore a relative path
            root = os.path.join(home, ".cache")
    return os.path.join(root, "fastnn", collection)


def _read(collection: str, file: DataFile, failures: list[str]) -> NDArray[np.uint8] | None:
    """Read a file of this machine; None where there is none, or only a damaged one in the cache, which is noted."""
    own = own_folder(collection)
    for path, raw in _candidates(own, file.name) if own else ():
        try:
            return file.open(raw)
        except ValueError as error:
            raise DatasetError(f"{path}: {error}. Replace this file by a sound one, or remove it.") from error
    for path, raw in _candidates(cache_folder(collection), file.name):
        try:
            return file.open(raw)
        except ValueError as error:
            failures.append(f"{path}: {error}")
    return None


def _candidates(folder: str, name: str) -> Iterator[tuple[str, bytes]]:
    """Yield path and bytes of a file under either of its names."""
    for path in (os.path.join(folder, name), os.path.join(folder, name + ".gz")):
        try:
            with open(path, "rb") as stream:
                raw = stream.read()
        except (FileNotFoundError, NotADirectoryError):
            continue
        except OSError as error:
            raise DatasetError(f"{path} cannot be read: {error.strerror}") from error
        yield path, raw


def _unzip(raw: bytes, size: int) -> bytes:
    """Unzip, but never to more than one byte over the size expected."""
    import gzip
    import io
    import zlib

    try:
        with gzip.GzipFile(fileobj=io.BytesIO(raw)) as stream:
            return stream.read(size + 1)
    except (EOFError, OSError, zlib.error) as error:
        raise ValueError(f"the gzip data is damaged: {error}") from error


def _fetch(file: DataFile, mirrors: deque[str], failures: list[str]) -> tuple[bytes, NDArray[np.uint8]] | None:
    """Download from the first mirror that delivers the file whole. A mirror that fails goes to the end of the queue."""
    from http.client import HTTPException

    for _ in range(len(mirrors)):
        url = f"{mirrors[0]}{file.name}.gz"
        try:
            raw = _download(url, file)
            return raw, file.open(raw)
        except (OSError, HTTPException, ValueError) as error:
            failures.append(f"{url}: {type(error).__name__}: {error}")
            mirrors.rotate(-1)
    return None


def _download(url: str, file: DataFile) -> bytes:
    """Return what a URL holds, with a progress bar where somebody may be watching."""
    from urllib.request import Request, urlopen

    from tqdm import tqdm

    started = time.monotonic()
    received = bytearray()
    unwatched = sys.stderr is None or not sys.stderr.isatty()
    with urlopen(Request(url, headers={"User-Agent": "fastnn"}), timeout=TIMEOUT) as response:
        announced = response.length  # None where the server does not say
        with tqdm(desc=file.name, total=announced, unit="B", unit_scale=True, disable=unwatched) as bar:
            while announced is None or len(received) < announced:
                block = response.read1(_BLOCK)
                if not block:
                    break
                received += block
                bar.update(len(block))
                if len(received) > 2 * file.size + 1024:
                    raise ValueError(f"more came than {file.size:,} bytes can be zipped to")
                if time.monotonic() - started > TIMEOUT + len(received) / SLOWEST:
                    raise TimeoutError(f"too slow: {len(received):,} bytes in {time.monotonic() - started:.0f} s")
    if announced is not None and len(received) < announced:
        raise ConnectionError(f"the connection closed after {len(received):,} of {announced:,} bytes")
    return bytes(received)


def _keep(folder: str, name: str, raw: bytes) -> None:
    """Write beside the target under a name of our own and rename, so that no process ever sees half a file."""
    from secrets import token_hex

    os.makedirs(folder, exist_ok=True)
    path = os.path.join(folder, name)
    temporary = f"{path}.{token_hex(8)}.part"
    try:
        with open(temporary, "xb") as stream:
            stream.write(raw)
        os.replace(temporary, path)
    except BaseException:
        if os.path.exists(temporary):
            os.remove(temporary)
        raise


def _advice(collection: str, missing: Sequence[str], failures: Sequence[str]) -> str:
    """Say what is missing, where to put it, and what was tried."""
    own, cache = own_folder(collection), cache_folder(collection)
    if own:
        other = f"{FOLDER_VARIABLE} is {os.environ[FOLDER_VARIABLE]!r}; the folder {cache} would do as well."
    else:
        other = (
            f"Or set the environment variable {FOLDER_VARIABLE}, which is not set, to a folder of yours and put "
            f"them into its subfolder {collection!r}."
        )
    lines = [
        f"{collection}: {len(missing)} file(s) are not on this machine, or damaged, and could not be downloaded.",
        "Put them here, plain, or gzipped with .gz at the end of the name:",
        *(f"    {os.path.join(own or cache, name)}" for name in missing),
        other,
        "What was tried:",
        *(f"    {failure}" for failure in failures),
    ]
    return "\n".join(lines)

"""One file: arrays by name in safetensors, everything else as JSON in its header.

It is written beside its target and renamed: a crash leaves the old file or the new one, never half of one. A checksum
over all of it, header included, tells a damaged one.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Mapping
from contextlib import suppress
from hashlib import sha256
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.numpy import load, save

from fastnn._version import __version__

try:
    import fcntl
except ImportError:  # only POSIX systems have it
    fcntl = None  # type: ignore[assignment]

FORMAT = 2  # changes with the layout of what is written: other files are refused, and not half understood
UNSIGNED = "0" * 64  # stands in the checksum's place while it is computed


def write(path: Any, arrays: Mapping[str, NDArray[Any]], description: Mapping[str, Any]) -> None:
    """Writes arrays and a description atomically; the same contents give the same bytes.

    Raises
    ------
    TypeError
        If the description holds something that JSON cannot, or the path is not one.
    OSError
        If the folder does not exist or cannot be written to.
    """
    target = Path(os.path.realpath(_as_path(path)))  # a link stays one: its target is replaced
    text = json.dumps({"format": FORMAT, "fastnn": __version__, "sha256": UNSIGNED, **description})
    content = save({name: np.ascontiguousarray(array) for name, array in arrays.items()}, metadata={"fastnn": text})
    if target.is_dir():
        raise IsADirectoryError(f"cannot save to {str(target)!r}: it is a directory")
    if not target.parent.is_dir():
        raise FileNotFoundError(f"cannot save to {str(target)!r}: there is no directory {str(target.parent)!r}")
    with suppress(OSError):
        _clear(target)
    beside, file = _open_beside(target)
    try:
        with file:
            for part in _signed(content):
                file.write(part)
            file.flush()
            os.fsync(file.fileno())
            os.replace(beside, target)  # while it is locked: nobody can take it for abandoned
    except BaseException:
        beside.unlink(missing_ok=True)
        raise


def _open_beside(target: Path) -> tuple[Path, BinaryIO]:
    """A new file in the same folder, locked for as long as it is open."""
    while True:
        beside = target.with_name(f".{target.name}.{os.urandom(4).hex()}.part")
        file = open(beside, "xb")  # noqa: SIM115 (the caller closes it)
        with suppress(OSError):  # without locks nothing is cleared either
            _lock(file, wait=True)
        if os.fstat(file.fileno()).st_nlink:
            return beside, file
        file.close()  # `_clear` found it in the moment before it was locked


def _clear(target: Path) -> None:
    """Removes what killed saves to this target have left: files of our naming that no living process has locked."""
    name = re.compile(rf"\.{re.escape(target.name)}\.[0-9a-f]{{8}}\.part")
    for path in target.parent.iterdir():
        if name.fullmatch(path.name) and path.is_file() and not path.is_symlink():
            with suppress(OSError), open(path, "rb") as file:
                _lock(file, wait=False)
                path.unlink()


def _lock(file: Any, *, wait: bool) -> None:
    """Locks a file until it is closed.

    Raises
    ------
    OSError
        If somebody else has, or the file system or the operating system knows no such locks.
    """
    if fcntl is None:
        raise OSError("this system has no flock")
    fcntl.flock(file, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))


def read(path: Any) -> tuple[dict[str, NDArray[Any]], dict[str, Any]]:
    """The arrays and the description of a file that `write` made.

    Raises
    ------
    FileNotFoundError
        If there is no such file.
    ValueError
        If it is damaged, be it by a single bit, of another version's format, or something else than a file of fastnn.
    """
    source = _as_path(path)
    if source.is_dir():
        raise IsADirectoryError(f"cannot load {str(source)!r}: it is a directory")
    if not source.exists():
        raise FileNotFoundError(f"cannot load {str(source)!r}: there is no such file")
    content = source.read_bytes()
    try:
        header = content[: _header_size(content)]
        metadata = json.loads(header[8:]).get("__metadata__", {})
        if "fastnn" not in metadata:
            raise ValueError("it holds no description of a network")
        description = json.loads(metadata["fastnn"])
        _check_signature(content, description["sha256"])
        if description["format"] == FORMAT:
            return load(content), description
    except (SafetensorError, KeyError, ValueError, TypeError, RecursionError, AttributeError) as problem:
        reason = f"no entry {problem}" if isinstance(problem, KeyError) else str(problem)
        raise ValueError(f"{str(source)!r} is damaged or was not saved by fastnn: {reason}") from problem
    raise ValueError(
        f"{str(source)!r} was saved by another version, fastnn {description.get('fastnn')}, in format "
        f"{description['format']!r}: version {__version__} reads format {FORMAT}"
    )


def _as_path(path: Any) -> Path:
    if not isinstance(path, (str, os.PathLike)):
        raise TypeError(f"path: expected a string or a path, got {type(path).__name__}")
    return Path(path)


def _header_size(content: bytes) -> int:
    """Bytes of a safetensors file before its data: a length (8 bytes) and so much JSON."""
    size = 8 + int.from_bytes(content[:8], "little")
    if len(content) < 8 or size > len(content):
        raise ValueError(f"it ends within its header, after {len(content)} bytes")
    return size


def _signed(content: bytes) -> tuple[bytes, memoryview]:
    """Header and data, with the checksum of both in its place in the header."""
    size = _header_size(content)
    digest = sha256(content).hexdigest()
    return content[:size].replace(_signature(UNSIGNED), _signature(digest), 1), memoryview(content)[size:]


def _check_signature(content: bytes, digest: str) -> None:
    """Refuses contents whose checksum, taken with zeros in its own place, is another: nothing else goes unnoticed."""
    size = _header_size(content)
    header = content[:size].replace(_signature(digest), _signature(UNSIGNED), 1)
    found = sha256(header)
    found.update(memoryview(content)[size:])
    if found.hexdigest() != digest:
        raise ValueError("its contents do not have the checksum that they were saved with")


def _signature(digest: str) -> bytes:
    """How the checksum stands in the header: in JSON within JSON."""
    return json.dumps(json.dumps({"sha256": digest}))[2:-2].encode()

"""A Python in a process of its own, for what is decided once, at import; and a thread that has done nothing yet."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor


def python(code: str, **environment: str) -> str:
    """What a fresh interpreter prints."""
    clean = {name: value for name, value in os.environ.items() if not name.startswith(("OMP_", "GOMP_", "KMP_"))}
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=120, env={**clean, **environment}
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def in_another_thread(call: Callable[[], object]) -> object:
    """The result of a call in a thread that has done nothing yet."""
    with ThreadPoolExecutor(1) as pool:
        return pool.submit(call).result()

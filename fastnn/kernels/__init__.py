"""The compiled kernels: picks the instruction-set level of this machine and imports that one, and no other.

A module compiled for a level that the processor lacks can fault while it is imported, so `cpu` asks first.
"""

import importlib
import importlib.util
import os
from types import ModuleType

from fastnn.kernels import cpu

LEVELS = {"v2": 2, "v3": 3, "v4": 4}
SPEEDS = {"v2": 25.0, "v3": 80.0, "v4": 160.0, "plain": 25.0}  # of products on one thread, roughly; GFLOP/s


def _built(level: str) -> bool:
    return importlib.util.find_spec(f"fastnn.kernels.{level}_float32") is not None


def _choose() -> tuple[str, str]:
    """The level to run and the reason, in words."""
    machine = cpu.level()
    wanted = os.environ.get("FASTNN_ISA", "").strip().lower()
    available = [name for name, number in LEVELS.items() if number <= machine and _built(name)]
    if _built("plain"):
        available.insert(0, "plain")
    if wanted:
        if wanted not in (*LEVELS, "plain"):
            raise ImportError(f"FASTNN_ISA={wanted}: expected one of v2, v3, v4")
        if wanted not in available:
            why = "was not built" if not _built(wanted) else f"needs more than this processor's level, v{machine}"
            raise ImportError(f"FASTNN_ISA={wanted}: level {wanted} {why}; available here: {', '.join(available)}")
        return wanted, "FASTNN_ISA"
    if not available:
        raise ImportError(
            f"this processor is x86-64-v{machine}; the kernels need x86-64-v2 or a build with FASTNN_BUILD=plain"
        )
    best = available[-1]
    return best, "the portable build" if best == "plain" else "the highest level of this processor"


LEVEL, REASON = _choose()

_modules: dict[str, ModuleType] = {}


def _module(dtype: str) -> ModuleType:
    """The kernels of this machine's level for "float32" or "float64"."""
    if dtype not in _modules:
        _modules[dtype] = importlib.import_module(f"fastnn.kernels.{LEVEL}_{dtype}")
    return _modules[dtype]


def address(kernel: str, dtype: str) -> int:
    """Where a kernel's machine code starts, for "float32" or "float64".

    Raises
    ------
    KeyError
        If there is no such kernel.
    """
    return _module(dtype).KERNELS[kernel]


def preparation(kernel: str, dtype: str) -> int:
    """Where the code starts that finds a shorter way for a kernel on given operands; 0 where there is none."""
    return _module(dtype).PREPARATIONS.get(kernel, 0)


def whole_preparation(dtype: str) -> int:
    """Where the code starts that finds a way to run all instructions of a Program in one go."""
    return _module(dtype).PREPARE_WHOLE


def tiles(dtype: str) -> dict[str, int]:
    """The numbers of a level that results and tests depend on, and whether bfloat16 goes in pairs (PAIRS)."""
    return _module(dtype).TILES


def product_speed() -> float:
    """Floating-point operations a nanosecond that products reach on one thread, roughly: it decides about threads."""
    return SPEEDS[LEVEL] / (2.0 if LEVEL == "v4" and cpu.halves_vectors() else 1.0)


def peak_flops(dtype: str) -> int:
    """Floating-point operations of each step of the kernel `peak`."""
    return _module(dtype).PEAK_FLOPS


def product_scratch(m: int, n: int, k: int, dtype: str, n_threads: int = 1) -> int:
    """Bytes of scratch memory that each thread of an m x n x k product needs: the fewer, the more threads there are."""
    return _module(dtype).product_scratch(m, n, k, n_threads)


def rounded_scratch(m: int, n: int, k: int, dtype: str) -> int:
    """The same for a product of factors that are rounded to bfloat16."""
    return _module(dtype).rounded_scratch(m, n, k, 1)


def kept_size(k: int, n: int, dtype: str) -> int:
    """Numbers in a packed copy of a k x n factor that many products use; 0 if that makes none faster."""
    return _kept_size(k, n, dtype, False)


def kept_rounded_size(k: int, n: int, dtype: str) -> int:
    """The same for a factor that is rounded to bfloat16."""
    return _kept_size(k, n, dtype, True)


def _kept_size(k: int, n: int, dtype: str, rounded: bool) -> int:
    module = _module(dtype)
    return module.kept_reals(k, n, rounded) if module.is_worth_keeping(k, n, rounded) else 0


def product_scratch_address(dtype: str) -> int:
    """Where the machine code of `product_scratch` starts."""
    return _module(dtype).PRODUCT_SCRATCH

"""Instruction-set levels: which one is chosen and why, and the kernel tests again under every other level."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from fastnn import kernels
from fastnn.kernels import cpu

TESTS = Path(__file__).parent
KERNEL_TESTS = sorted(str(path) for path in TESTS.glob("test_*.py") if "mark.kernel\n" in path.read_text())
X86 = cpu.level() > 0 and kernels.LEVEL != "plain"
only_x86 = pytest.mark.skipif(not X86, reason="only on x86-64 builds with levels")

# What the processor must have for a level, as the operating system names it (psABI; the first line is v2).
FLAGS = {
    2: "cx16 lahf_lm popcnt pni sse4_1 sse4_2 ssse3",
    3: "avx avx2 bmi1 bmi2 f16c fma abm movbe xsave",
    4: "avx512f avx512bw avx512cd avx512dq avx512vl",
}


def python(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """Runs Python in a process of its own: a level is chosen once, at import."""
    variables = {key: value for key, value in os.environ.items() if key != "FASTNN_ISA"} | environment
    return subprocess.run([sys.executable, *arguments], cwd=TESTS.parent, env=variables, capture_output=True, text=True)


def skip_unless_here(level: str) -> None:
    if not X86 or kernels.LEVELS[level] > cpu.level():
        pytest.skip(f"this machine lacks level {level}")


@pytest.mark.parametrize("level", [level for level in kernels.LEVELS if level != kernels.LEVEL])
def test_kernel_tests_pass_under_level(level: str) -> None:
    skip_unless_here(level)
    assert len(KERNEL_TESTS) >= 6
    done = python("-m", "pytest", "-m", "kernel", "-p", "no:cacheprovider", *KERNEL_TESTS, FASTNN_ISA=level)
    assert done.returncode == 0, done.stdout[-8000:] + done.stderr[-2000:]
    assert f"fastnn kernels: level {level} (FASTNN_ISA)" in done.stdout
    passed = re.search(r"(\d+) passed", done.stdout)
    assert passed is not None
    assert int(passed[1]) >= 300


# Results of many kernels, digested; which bits they have may depend on nothing but whether there is an FMA.
DIGEST = """
import hashlib
import numpy as np
from fastnn import kernels, ops
digest = hashlib.sha256()
for dtype in ("float32", "float64"):
    rng = np.random.default_rng(1)
    x, weight = (rng.normal(scale=3, size=shape).astype(dtype) for shape in ((301, 700), (700, 67)))
    results = [ops.matmul(x, weight), ops.matmul(x[:1], weight), ops.matmul(x, weight[:, :1])]
    results += [ops.sum(x), ops.sum(x, axis=0), ops.sum(x, axis=1), ops.mean(x, axis=1), ops.norm_squared(x)]
    names = "elu erf exp gelu log1p reciprocal sigmoid silu softplus sqrt square tanh".split()
    results += [getattr(ops, name)(abs(x)) for name in names] + [getattr(ops, name)(-x) for name in names]
    results += [ops.gelu(x, approximate=True), ops.log(abs(x)), ops.divide(x, x[::-1])]
    for result in results:
        digest.update(np.nan_to_num(np.asarray(result), nan=7).tobytes())
print(kernels.LEVEL, digest.hexdigest())
"""


@only_x86
def test_levels_with_fma_give_the_same_bits() -> None:
    skip_unless_here("v4")
    lines = [python("-c", DIGEST, FASTNN_ISA=level) for level in ("v2", "v3", "v4")]
    assert not any(line.returncode for line in lines), lines[0].stderr
    found = dict(line.stdout.split() for line in lines)
    assert found["v3"] == found["v4"]
    assert found["v2"] != found["v3"], "rounding twice must show, or this test sees nothing"


@only_x86
@pytest.mark.skipif(not Path("/proc/cpuinfo").exists(), reason="only on x86-64 with Linux")
def test_level_of_this_processor() -> None:
    flags = set(re.search(r"^flags\s*:(.*)$", Path("/proc/cpuinfo").read_text(), re.MULTILINE)[1].split())  # type: ignore[index]
    level = 1
    while level < 4 and set(FLAGS[level + 1].split()) <= flags:
        level += 1
    assert cpu.level() == level


IMPORT_ON = """
import sys, types
pretended = types.ModuleType("fastnn.kernels.cpu")
pretended.level = lambda: {machine}
pretended.has_bfloat16 = pretended.halves_vectors = pretended.has_near_l3 = lambda: False
pretended.reads_before_storing = lambda: False
sys.modules["fastnn.kernels.cpu"] = pretended
import numpy as np
import fastnn
fastnn.ops.exp(np.ones(3)), fastnn.ops.exp(np.ones(3, "float32"))
fastnn.show_config()
print(sorted(name for name in sys.modules if "_float" in name))
"""


@only_x86
@pytest.mark.parametrize("level", kernels.LEVELS)
def test_best_level_is_chosen(level: str) -> None:
    skip_unless_here(level)
    done = python("-c", IMPORT_ON.format(machine=kernels.LEVELS[level]))
    assert done.returncode == 0, done.stderr
    assert f"kernels:    {level} (the highest level of this processor)" in done.stdout
    only = [f"fastnn.kernels.{level}_float{bits}" for bits in (32, 64)]
    assert done.stdout.splitlines()[-1] == str(only), "no module of another level may be imported"


@only_x86
@pytest.mark.parametrize("level", kernels.LEVELS)
def test_level_can_be_asked_for(level: str) -> None:
    skip_unless_here(level)
    done = python("-c", "import fastnn; fastnn.show_config()", FASTNN_ISA=f" {level.upper()} ")
    assert f"kernels:    {level} (FASTNN_ISA)" in done.stdout


@only_x86
@pytest.mark.parametrize(
    "machine, asked, message",
    [
        (4, "v9", "FASTNN_ISA=v9: expected one of v2, v3, v4"),
        (4, "avx2", "FASTNN_ISA=avx2: expected one of v2, v3, v4"),
        (3, "v4", "FASTNN_ISA=v4: level v4 needs more than this processor's level, v3; available here: v2, v3"),
        (2, "v3", "FASTNN_ISA=v3: level v3 needs more than this processor's level, v2; available here: v2"),
        (4, "plain", "FASTNN_ISA=plain: level plain was not built; available here: v2, v3, v4"),
        (1, "", "this processor is x86-64-v1; the kernels need x86-64-v2 or a build with FASTNN_BUILD=plain"),
    ],
)
def test_clear_refusals(machine: int, asked: str, message: str) -> None:
    done = python("-c", IMPORT_ON.format(machine=machine), FASTNN_ISA=asked)
    assert done.returncode == 1
    assert done.stderr.splitlines()[-1] == f"ImportError: {message}"


TESTS_ON = """
import sys
from fastnn import kernels
from fastnn.kernels import cpu
cpu.halves_vectors, cpu.has_near_l3 = lambda: {halves}, lambda: {near}
if not {near}:
    cpu.has_bfloat16 = lambda: False
import pytest
files = ["tests/test_product.py", "tests/test_few_rows.py", "tests/test_prepared.py", "tests/test_bfloat16.py"]
sys.exit(pytest.main(["-q", "-p", "no:cacheprovider", *files]))
"""


@only_x86
@pytest.mark.parametrize("halves, near", [(False, False), (True, True), (False, True)], ids=["Intel", "Zen 4", "Zen 5"])
def test_products_have_their_bits_on_every_processor_of_this_level(halves: bool, near: bool) -> None:
    """Processors choose other tiles and copies: all of them have to equal the reference, bit for bit."""
    done = python("-c", TESTS_ON.format(halves=halves, near=near), FASTNN_ISA=kernels.LEVEL)
    assert done.returncode == 0, done.stdout[-8000:] + done.stderr[-2000:]
    passed = re.search(r"(\d+) passed", done.stdout)
    assert passed is not None
    assert int(passed[1]) >= 100

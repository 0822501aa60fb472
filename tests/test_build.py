"""What is shipped: the source distribution is complete, the wheel small and clean, and a build without OpenMP works.

Building everything takes a minute or two and was done for this very run. So what was translated and compiled is handed
on to the builds here, which then compile only what a test is about; .ci/prove-wheel.sh builds all from nothing.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import sysconfig
import tarfile
import time
import zipfile
from email import message_from_string
from pathlib import Path

import pytest

from fastnn import kernels

ROOT = Path(__file__).parents[1]
TRANSLATED = ROOT / "build" / "cython"  # where setup.py has Cython write
BUILT = [path for path in Path(kernels.__file__).parent.iterdir() if path.name.endswith(".so")]
LIBRARY = Path("build", f"lib.{sysconfig.get_platform()}-{sys.implementation.cache_tag}", "fastnn", "kernels")
MOST_BYTES = 5_000_000


def python(*arguments: str | Path, cwd: Path, **environment: str) -> str:
    """What a Python in a folder prints; pytest's own path and variables do not reach it."""
    variables = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"} | environment
    done = subprocess.run(
        [sys.executable, *arguments],
        cwd=cwd,
        env=variables,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    assert done.returncode == 0, done.stdout[-6000:]
    return done.stdout


def hand_on(modules: list[Path], folder: Path) -> None:
    """Compiled modules for a build that would compile them again, dated so that they are newer than any source."""
    folder.mkdir(parents=True, exist_ok=True)
    for module in modules:
        copy = Path(shutil.copy(module, folder))
        os.utime(copy, (time.time() + 3600,) * 2)


@pytest.fixture(scope="module")
def archive(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A source distribution of this tree."""
    folder = tmp_path_factory.mktemp("sdist")
    python("-m", "build", "--sdist", "--no-isolation", "--outdir", folder, ROOT, cwd=folder)
    (found,) = folder.glob("fastnn-*.tar.gz")
    return found


@pytest.fixture(scope="module")
def source(archive: Path) -> Path:
    """The source distribution, unpacked."""
    shutil.unpack_archive(archive, archive.parent)
    tree = archive.parent / archive.name.removesuffix(".tar.gz")
    if TRANSLATED.is_dir():
        shutil.copytree(TRANSLATED, tree / "build" / "cython")
    return tree


@pytest.fixture(scope="module")
def wheel(source: Path) -> Path:
    """A wheel, built from the source distribution."""
    hand_on(BUILT, source / LIBRARY)
    python("-m", "build", "--wheel", "--no-isolation", "--outdir", source / "dist", source, cwd=source)
    (found,) = (source / "dist").glob("*.whl")
    return found


def test_source_distribution_is_complete(archive: Path) -> None:
    with tarfile.open(archive) as opened:
        shipped = {Path(*Path(name).parts[1:]) for name in opened.getnames()}
    suffixes = (".py", ".pyi", ".pyx", ".pxd", ".pxi", ".h", ".c", ".npz", ".md", ".typed")
    for folder in ("fastnn", "tests"):
        wanted = {path.relative_to(ROOT) for path in (ROOT / folder).rglob("*") if path.suffix in suffixes}
        assert len(wanted) > 20
        assert wanted - shipped == set()
    alone = ("LICENSE", "README.md", "CHANGELOG.md", "Makefile", "pyproject.toml", "setup.py", "fastnn/py.typed")
    assert {Path(name) for name in alone} <= shipped
    assert not [path for path in shipped if path.suffix in (".so", ".pyc")]


def test_wheel_holds_what_a_user_needs_and_no_more(wheel: Path) -> None:
    assert wheel.stat().st_size <= MOST_BYTES
    with zipfile.ZipFile(wheel) as archive:
        names = archive.namelist()
        metadata = message_from_string(archive.read(next(n for n in names if n.endswith("/METADATA"))).decode())
    inside = [Path(name) for name in names if ".dist-info/" not in name]
    assert {path.parts[0] for path in inside} == {"fastnn"}
    assert {path.suffix for path in inside} == {".py", ".pyi", ".so", ".typed", ".npz", ".md"}
    assert {"fastnn/py.typed", "fastnn/datasets/digits.npz", "fastnn/datasets/digits.md"} <= set(names)
    compiled = {path.name.split(".")[0] for path in inside if path.suffix == ".so"}
    assert compiled == {path.name.split(".")[0] for path in BUILT}
    levels = ["plain"] if kernels.LEVEL == "plain" else list(kernels.LEVELS)
    assert {f"{level}_float{bits}" for level in levels for bits in (32, 64)} < compiled
    required = [line for line in metadata.get_all("Requires-Dist", []) if "extra ==" not in line]
    assert {line.split(">")[0] for line in required} == {"numpy", "safetensors", "threadpoolctl", "tqdm"}
    assert metadata["License-Expression"] == "BSD-3-Clause"


TRY = """
import fastnn
digits = fastnn.datasets.digits()
net = fastnn.Sequential([fastnn.Dense(30, "relu"), fastnn.Dense(10)], input_shape=64, seed=0)
net.fit(digits.x_train, digits.y_train, loss="cross_entropy", optimizer=fastnn.Adam(1e-2), epochs=3, verbose=0)
print("file:", fastnn.__file__)
print("accuracy:", net.evaluate(digits.x_test, digits.y_test)["accuracy"])
"""


def accuracy(printed: str) -> float:
    return float(printed.split("accuracy:")[1].split()[0])


def test_wheel_installs(wheel: Path, tmp_path: Path) -> None:
    site = tmp_path / "site"
    options = ("--quiet", "--no-deps", "--no-index", "--disable-pip-version-check", "--target")
    python("-m", "pip", "install", *options, site, wheel, cwd=tmp_path)
    printed = python("-c", TRY, cwd=tmp_path, PYTHONPATH=str(site))
    assert f"file: {site}" in printed
    assert accuracy(printed) > 0.9


SERIAL = """
import numpy as np
fastnn.set_num_threads(4)
wide = fastnn.Sequential([fastnn.Dense(500)], input_shape=64, seed=0)
rows = [wide.predict(row[None]) for row in digits.x_test]
assert np.array_equal(wide.predict(digits.x_test), np.concatenate(rows)), "work that pays for four threads"
fastnn.show_config()
"""


def test_without_openmp_the_build_is_serial_and_says_so(source: Path, tmp_path: Path) -> None:
    tree = Path(shutil.copytree(source, tmp_path / "tree", ignore=shutil.ignore_patterns("lib.*", "dist")))
    hand_on([path for path in BUILT if not path.name.startswith("executor.")], tree / LIBRARY)
    printed = python("setup.py", "build_ext", "--inplace", cwd=tree, FASTNN_OPENMP="0")
    assert "fastnn: building without OpenMP: the kernels will run on one thread" in printed
    printed = python("-c", TRY + SERIAL, cwd=tree)
    assert f"file: {tree}" in printed
    assert accuracy(printed) > 0.9
    assert "OpenMP:     no: built without OpenMP, everything runs on one thread" in printed
    assert "threads:    1 of " in printed


BUILD_WITHOUT_A_COMPILER = """
import os, runpy, sys
import Cython.Build
cythonize = Cython.Build.cythonize

def tell(targets, force, **options):
    print("everything anew:", force)
    return cythonize(targets, force=False, **options)

Cython.Build.cythonize = tell
os.environ["CC"] = "false"
sys.argv = ["setup.py", "build_ext", "--inplace"]
try:
    runpy.run_path("setup.py")
except SystemExit as end:
    print("end:", end)
"""


def test_other_flags_compile_everything_again(source: Path, tmp_path: Path) -> None:
    """They stand in setup.py: a build that is older than it is out of date."""
    tree = Path(shutil.copytree(source, tmp_path / "tree", ignore=shutil.ignore_patterns("lib.*", "dist")))
    hand_on(BUILT, tree / LIBRARY)
    printed = python("-c", BUILD_WITHOUT_A_COMPILER, cwd=tree, FASTNN_OPENMP="0")
    assert "everything anew: False" in printed
    assert "end:" not in printed, "nothing had changed"
    os.utime(tree / "setup.py", (time.time() + 7200,) * 2)
    printed = python("-c", BUILD_WITHOUT_A_COMPILER, cwd=tree, FASTNN_OPENMP="0")
    assert "everything anew: True" in printed
    assert "end: error:" in printed, "it tried to compile"

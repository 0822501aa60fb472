"""Builds the kernels: one Cython source, compiled once per instruction-set level and floating-point type.

Environment: FASTNN_BUILD=plain builds only the portable level; CC chooses the compiler; CFLAGS and LDFLAGS are added;
FASTNN_OPENMP=0 builds without OpenMP; FASTNN_CROSS=1 says that what is compiled here cannot run here.
"""

import os
import platform
import shlex
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy
from Cython.Build import cythonize
from setuptools import Extension, setup
from setuptools.command.build_ext import build_ext

KERNELS = "fastnn/kernels"
TRANSLATED = "build/cython"  # where Cython writes C
# Contraction is off so that a fused multiply-add happens exactly where the source writes one; never -ffast-math.
COMPILE = ["-O3", "-g0", "-ffp-contract=off", "-fno-math-errno", "-fno-trapping-math", "-fvisibility=hidden"]
COMPILE += ["-fwrapv"]  # arithmetic on the bits of a float wraps around
OPTIONAL = ["-fno-version-loops-for-strides"]  # gcc's alone: a loop of each kind has more registers than two of it
COMPILE += ["-Wall", "-Wno-psabi", "-Wno-unused-function", "-Wno-unused-but-set-variable"]
COMPILE += ["-Wno-maybe-uninitialized", "-Wno-unknown-warning-option"]  # gcc's alone, and clang's word for that
AVX2 = ["-march=x86-64", "-mavx2", "-mfma", "-mbmi", "-mbmi2", "-mlzcnt", "-mf16c", "-mmovbe"]
AVX512 = ["-mavx512f", "-mavx512bw", "-mavx512cd", "-mavx512dq", "-mavx512vl", "-mprefer-vector-width=512"]
LEVELS = {
    "v2": (2, ["-march=x86-64", "-msse3", "-mssse3", "-msse4.1", "-msse4.2", "-mpopcnt", "-mcx16"]),
    "v3": (3, AVX2),
    "v4": (4, AVX2 + AVX512),
    "plain": (0, []),
}


def levels() -> list[str]:
    """Which levels this build compiles: the three of x86-64, or the portable one."""
    x86 = platform.machine().lower() in ("x86_64", "amd64")
    return ["v2", "v3", "v4"] if x86 and os.environ.get("FASTNN_BUILD") != "plain" else ["plain"]


def extension(name: str, source: str, flags: list[str], **macros: int) -> Extension:
    return Extension(
        f"fastnn.kernels.{name}",
        [f"{KERNELS}/{source}"],
        include_dirs=[KERNELS, numpy.get_include()],
        depends=sorted(str(path) for path in Path(KERNELS).iterdir() if path.suffix in (".h", ".pxi", ".pxd")),
        define_macros=[("NPY_NO_DEPRECATED_API", "NPY_1_7_API_VERSION")] + [(k, str(v)) for k, v in macros.items()],
        extra_compile_args=COMPILE + flags,
        extra_link_args=["-Wl,-s"] if sys.platform == "linux" else [],
    )


def is_outdated(target: Extension) -> bool:
    """Whether it was translated to C before this file, which holds Cython's directives, was changed."""
    written = Path(TRANSLATED, target.sources[0]).with_suffix(".c")
    return written.exists() and written.stat().st_mtime < Path(__file__).stat().st_mtime


def extensions() -> list[Extension]:
    found = [
        extension("cpu", "cpu.pyx", []),
        extension("executor", "executor.pyx", []),
        extension("eager", "eager.pyx", []),
    ]
    for level in levels():
        number, flags = LEVELS[level]
        for bits in (32, 64):
            name = f"{level}_float{bits}"
            found.append(extension(name, f"levels/{name}.pyx", flags, LEVEL=number, REAL_BITS=bits))
    return found


OPENMP_PROBE = """
#include <omp.h>
#include <stdio.h>
int main(void) {
    int threads = 0;
    #pragma omp parallel num_threads(2) reduction(+:threads)
    threads += 1;
    printf("%d", threads);
    return threads < 1;
}
"""


class BuildKernels(build_ext):
    """Compiles with OpenMP where a small program with it compiles, links and runs; serially, and says so, elsewhere."""

    def build_extensions(self) -> None:
        self.parallel = self.parallel or os.cpu_count()
        accepted = [flag for flag in OPTIONAL if self.accepts(flag)]
        for target in self.extensions:
            if target.name.endswith(".executor"):
                target.extra_compile_args.append("-pthread")
                target.extra_link_args.append("-pthread")
            target.extra_compile_args += accepted
            target.depends.append(__file__)  # other flags, other machine code
        if self.openmp_works():
            for target in self.extensions:
                if target.name.endswith(".executor"):
                    target.extra_compile_args.append("-fopenmp")
                    target.extra_link_args.append("-fopenmp")
        else:
            print("fastnn: building without OpenMP: the kernels will run on one thread", file=sys.stderr)
        super().build_extensions()

    def accepts(self, flag: str) -> bool:
        """Whether the compiler knows a flag."""
        with tempfile.TemporaryDirectory() as folder:
            source = Path(folder, "probe.c")
            source.write_text("int main(void) { return 0; }")
            try:
                self.compiler.compile([str(source)], output_dir=folder, extra_postargs=["-Werror", flag])
            except Exception:  # each compiler class of setuptools raises its own errors
                return False
        return True

    def openmp_works(self) -> bool:
        if os.environ.get("FASTNN_OPENMP") == "0":
            print("fastnn: OpenMP is switched off by FASTNN_OPENMP=0", file=sys.stderr)
            return False
        linking = ["-fopenmp", *shlex.split(os.environ.get("LDFLAGS", ""))]
        with tempfile.TemporaryDirectory() as folder:
            source = Path(folder, "probe.c")
            source.write_text(OPENMP_PROBE)
            try:
                objects = self.compiler.compile([str(source)], output_dir=folder, extra_postargs=["-fopenmp"])
                self.compiler.link_executable(objects, "probe", output_dir=folder, extra_postargs=linking)
                if os.environ.get("FASTNN_CROSS") != "1":
                    subprocess.run([Path(folder, "probe")], check=True, capture_output=True, timeout=60)
            except Exception as problem:  # each compiler class of setuptools raises its own errors
                print(f"fastnn: OpenMP does not work with this compiler: {problem}", file=sys.stderr)
                return False
        return True


TARGETS = extensions()
setup(
    ext_modules=cythonize(
        TARGETS,
        force=any(map(is_outdated, TARGETS)),
        compiler_directives={
            "language_level": 3,
            "boundscheck": False,
            "wraparound": False,
            "initializedcheck": False,
            "cdivision": True,
            "embedsignature": True,
        },
        build_dir=TRANSLATED,
    ),
    cmdclass={"build_ext": BuildKernels},
)

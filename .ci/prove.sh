# What the prove-*.sh scripts share. Each builds the kernels in one particular way, in a copy of this tree, and runs the
# kernel tests (pytest -m kernel) on what came out. PYTHON chooses the interpreter. FASTNN_PROVE_DIR names a folder in
# which copies are kept, so that the next run compiles only what has changed; without it nothing is left behind.
# shellcheck shell=bash
set -euo pipefail

name=$(basename "$0" .sh)
root=$(cd "$(dirname "$0")/.." && pwd)
if [ -n "${FASTNN_PROVE_DIR:-}" ]; then
    work=$FASTNN_PROVE_DIR/$name
    mkdir -p "$work"
else
    work=$(mktemp -d)
    trap 'rm -rf "$work"' EXIT
fi
tree=$work/tree
passed=0

# What a build needs, what fastnn needs to run, and what its kernel tests need.
packages=('setuptools>=77' 'Cython>=3.1' 'numpy>=2.0' threadpoolctl safetensors tqdm 'pytest>=8' hypothesis)

say() { echo "$name: $*"; }

# need PROGRAM PACKAGE...: installs Debian packages where the program is missing and that is possible.
need() {
    local program=$1
    shift
    if command -v "$program" >/dev/null; then return; fi
    if [ "$(id -u)" -ne 0 ] || ! command -v apt-get >/dev/null; then
        say "needs $program (Debian: apt-get install $*)" >&2
        exit 1
    fi
    say "installing $*"
    apt-get -qq update
    DEBIAN_FRONTEND=noninteractive apt-get -qq install --yes --no-install-recommends "$@" >/dev/null
}

# The files that git knows or would add, as they are now.
copy_tree() {
    say "copying $root"
    mkdir -p "$tree"
    find "$tree" -type f ! -name '*.so' ! -path "$tree/build/*" -delete
    (cd "$root" && git ls-files --cached --others --exclude-standard -z | xargs -0 sh -c 'ls -d "$@" 2>/dev/null' sh |
        tar --create --files-from=-) | tar --extract --directory="$tree"
}

make_venv() {
    say "installing the build's and the tests' packages"
    "${PYTHON:-python3}" -m venv "$work/venv"
    python=$work/venv/bin/python
    "$python" -m pip install --quiet --disable-pip-version-check "${packages[@]}"
}

# build [VARIABLE=VALUE...]: compiles in place, with these variables set.
build() {
    say "building${*:+ with }$*"
    (cd "$tree" && env "$@" "$python" setup.py --quiet build_ext --inplace >"$work/build.log" 2>&1) || {
        cat "$work/build.log"
        say "the build failed" >&2
        exit 1
    }
    grep '^fastnn: ' "$work/build.log" || true
}

# levels: those of x86-64 that this machine's processor has.
levels() {
    (cd "$tree" && "$python" -c "
import importlib.machinery, importlib.util, glob
path, = glob.glob('fastnn/kernels/cpu.*.so')
loader = importlib.machinery.ExtensionFileLoader('cpu', path)
cpu = importlib.util.module_from_spec(importlib.util.spec_from_loader('cpu', loader))
loader.exec_module(cpu)
print(*[f'v{number}' for number in range(2, cpu.level() + 1)])")
}

# kernel_tests LEVEL COMMAND...: runs the tests by the command given (a Python, an emulator and a Python) and checks
# that the level under test is the one that was meant. What a sanitizer writes before it ends the process must come
# through, so pytest captures Python's output only.
kernel_tests() {
    local level=$1
    shift
    say "kernel tests, level $level"
    (cd "$tree" && grep -l 'mark\.kernel$' tests/test_*.py |
        xargs "$@" -m pytest --capture=sys -p no:cacheprovider -m kernel 2>&1) | tee "$work/tests.log"
    grep -q "^fastnn kernels: level $level " "$work/tests.log" || {
        say "these tests did not run under level $level" >&2
        exit 1
    }
    passed=$((passed + $(tail -n 1 "$work/tests.log" | grep -oE '[0-9]+ passed' | cut -d ' ' -f 1)))
}

finish() { say "$passed passed"; }

#!/usr/bin/env bash
# The kernels as clang compiles them, under every level of this machine. The tests' reference is compiled by cc, so equal
# bits are equal across compilers too.
set -euo pipefail
source "$(dirname "$0")/prove.sh"

need clang clang libomp-dev
copy_tree
make_venv
say "$(clang --version | head -n 1)"
build CC=clang
for module in "$tree"/fastnn/kernels/*.so; do
    grep -q 'clang version' "$module" || { say "$(basename "$module") was not compiled by clang" >&2; exit 1; }
done
for level in $(levels); do
    FASTNN_ISA=$level kernel_tests "$level" "$python"
done
finish

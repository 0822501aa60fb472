#!/usr/bin/env bash
# The portable build, which other processors get: no intrinsics, no level, and no fused multiply-add on x86-64.
set -euo pipefail
source "$(dirname "$0")/prove.sh"

copy_tree
rm -f "$tree"/fastnn/kernels/v?_*.so
make_venv
build FASTNN_BUILD=plain
kernel_tests plain "$python"
finish

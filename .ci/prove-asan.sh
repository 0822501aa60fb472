#!/usr/bin/env bash
# The kernels under AddressSanitizer, every level of this machine. NumPy's and Python's memory comes from the sanitizer's
# allocator too, so a kernel that leaves an array by one byte is caught. FASTNN_SANITIZE=address,undefined adds more.
set -euo pipefail
source "$(dirname "$0")/prove.sh"

sanitize="-fsanitize=${FASTNN_SANITIZE:-address} -fno-sanitize-recover=all"
copy_tree
make_venv
build CC=gcc CFLAGS="$sanitize -g -fno-omit-frame-pointer" LDFLAGS="$sanitize"
for module in "$tree"/fastnn/kernels/*.so; do
    grep -q '__asan_report' "$module" || { say "$(basename "$module") is not instrumented" >&2; exit 1; }
done
# Python itself is never freed, which would be reported as leaks.
sanitized=(env PYTHONMALLOC=malloc ASAN_OPTIONS=detect_leaks=0 UBSAN_OPTIONS=print_stacktrace=1
    LD_PRELOAD="$(gcc -print-file-name=libasan.so)" "$python")
for level in $(LD_PRELOAD="$(gcc -print-file-name=libasan.so)" ASAN_OPTIONS=detect_leaks=0 levels); do
    FASTNN_ISA=$level kernel_tests "$level" "${sanitized[@]}"
done
finish

#!/usr/bin/env bash
# Level v2 on a processor that has nothing more: qemu emulates a Nehalem (2008), on which any later instruction is
# illegal and ends the process.
set -euo pipefail
source "$(dirname "$0")/prove.sh"

need qemu-x86_64 qemu-user
copy_tree
make_venv
build
nehalem=(qemu-x86_64 -cpu Nehalem "$python")

say "a later level is refused:"
(cd "$tree" && FASTNN_ISA=v3 "${nehalem[@]}" -c 'import fastnn' 2>&1 | tail -n 1 | tee "$work/refused.log") || true
grep -q "needs more than this processor's level, v2" "$work/refused.log"
say "import and a short fit:"
(cd "$tree" && "${nehalem[@]}" - <<'PYTHON'
import fastnn

fastnn.show_config()
digits = fastnn.datasets.digits()
net = fastnn.Sequential([fastnn.Dense(30, "relu"), fastnn.Dense(10)], input_shape=64, seed=0)
net.fit(digits.x_train, digits.y_train, loss="cross_entropy", optimizer=fastnn.Adam(1e-2), epochs=3, verbose=0)
print("test accuracy:", net.evaluate(digits.x_test, digits.y_test)["accuracy"])
PYTHON
) | tee "$work/fit.log"
grep -q '^kernels: *v2 ' "$work/fit.log"
kernel_tests v2 "${nehalem[@]}"
finish

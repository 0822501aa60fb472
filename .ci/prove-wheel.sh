#!/usr/bin/env bash
# What is shipped, from nothing: a source distribution, a wheel from that alone, an installation of the wheel in a fresh
# environment, and a short training with it from another folder. PYTHON chooses the Python version.
set -euo pipefail
source "$(dirname "$0")/prove.sh"

copy_tree
say "building with $("${PYTHON:-python3}" --version)"
"${PYTHON:-python3}" -m venv "$work/builder"
"$work/builder/bin/python" -m pip install --quiet --disable-pip-version-check build
rm -rf "$work/dist" "$work/user" "$work/elsewhere"
"$work/builder/bin/python" -m build --outdir "$work/dist" "$tree" >"$work/build.log" 2>&1 || {
    cat "$work/build.log"
    exit 1
}
grep '^fastnn: ' "$work/build.log" || true
wheel=$(echo "$work"/dist/*.whl)
say "$(basename "$wheel"): $(stat --format=%s "$wheel") bytes"
[ "$(stat --format=%s "$wheel")" -le 5000000 ]

say "installing the wheel and training with it"
"${PYTHON:-python3}" -m venv "$work/user"
"$work/user/bin/python" -m pip install --quiet --disable-pip-version-check "$wheel"
mkdir "$work/elsewhere"
cd "$work/elsewhere"
"$work/user/bin/python" - <<'PYTHON' | tee "$work/tests.log"
import fastnn

fastnn.show_config()
digits = fastnn.datasets.digits()
net = fastnn.Sequential([fastnn.Dense(30, "relu"), fastnn.Dense(10)], input_shape=64, seed=0)
net.fit(digits.x_train, digits.y_train, loss="cross_entropy", optimizer=fastnn.Adam(1e-2), epochs=5, verbose=0)
accuracy = net.evaluate(digits.x_test, digits.y_test)["accuracy"]
print(f"test accuracy: {accuracy:.3f}")
assert accuracy > 0.9
PYTHON
say "1 passed"

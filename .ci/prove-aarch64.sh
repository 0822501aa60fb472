#!/usr/bin/env bash
# The portable build on 64-bit ARM, under qemu: an arm64 Python from Debian runs setup.py with a cross compiler and then
# the kernel tests. ARM has a fused multiply-add, so its bits are those of v3 and v4.
set -euo pipefail
source "$(dirname "$0")/prove.sh"

need qemu-aarch64 qemu-user
need aarch64-linux-gnu-gcc gcc-aarch64-linux-gnu
need dpkg dpkg

# Debian packages of the other architecture, unpacked into a folder of their own; apt keeps its state there as well.
sysroot=$work/sysroot
if [ ! -e "$sysroot/usr/bin/python3.11" ]; then
    say "unpacking an arm64 Python"
    apt=$work/apt
    mkdir -p "$sysroot" "$apt/state/lists/partial" "$apt/cache/archives/partial"
    touch "$apt/state/status"
    options=(-qq -o APT::Architecture=arm64 -o APT::Architectures=arm64 -o APT::Sandbox::User= -o Dir::Cache="$apt/cache"
        -o Dir::State="$apt/state" -o Dir::State::status="$apt/state/status" --no-install-recommends)
    apt-get "${options[@]}" update
    apt-get "${options[@]}" --yes --download-only install python3.11 libpython3.11-dev libgomp1 libstdc++6 >/dev/null
    for package in "$apt"/cache/archives/*.deb; do dpkg -x "$package" "$sysroot"; done
fi

cat >"$work/cc" <<END
#!/bin/sh
exec aarch64-linux-gnu-gcc --sysroot='$sysroot' -I'$sysroot/usr/include/python3.11' "\$@"
END
chmod +x "$work/cc"

say "installing the build's and the tests' packages"
"${PYTHON:-python3}" -m pip install --quiet --disable-pip-version-check --root-user-action=ignore --upgrade \
    --target "$work/site" --only-binary=:all: --implementation cp --python-version 3.11 \
    --platform manylinux_2_28_aarch64 --platform manylinux2014_aarch64 "${packages[@]}"
export PYTHONPATH=$work/site
python=$work/python
cat >"$python" <<END
#!/bin/sh
exec qemu-aarch64 -L '$sysroot' '$sysroot/usr/bin/python3.11' "\$@"
END
chmod +x "$python"

copy_tree
export CC=$work/cc # for the tests' reference too
build FASTNN_CROSS=1
"$python" -c 'import platform, sys; print(platform.machine(), sys.version)' | tee "$work/machine.log"
grep -q '^aarch64 ' "$work/machine.log"
kernel_tests plain "$python"
finish

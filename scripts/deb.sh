#!/usr/bin/env bash
# Makes the packages fence-virtd and fence-virt in target/deb/, of the release build or of BUILD.
set -euo pipefail
cd "$(dirname "$0")/.."

command -v dh >/dev/null || {
    echo "deb: debhelper is missing: run scripts/setup.sh deb, or install the package debhelper" >&2
    exit 1
}
# The epoch: ours comes after every version of the original's package.
version=$(sed -n '/^\[workspace.package\]/,/^$/s/^version = "\(.*\)"$/\1/p' Cargo.toml)
packaged=$(dpkg-parsechangelog -S Version)
if [ "$packaged" != "1:$version" ]; then
    echo "deb: debian/changelog has version $packaged, and Cargo.toml has $version: add an entry for 1:$version" >&2
    exit 1
fi

if [ -z "${BUILD:-}" ]; then
    cargo build --release --locked --quiet -p fence-virtd -p fence-xvm
    BUILD=${CARGO_TARGET_DIR:-target}/release
fi
export BUILD

# dpkg-buildpackage leaves its products beside the source: give it a place below target.
out=target/deb
source=$out/source
rm -rf "$out"
mkdir -p "$source/built"
cp -a debian scripts man completions systemd etc docs CHANGELOG.md "$source/"
cp "$BUILD/fence_virtd" "$BUILD/fence_xvm" "$source/built/"
if ! (cd "$source" && BUILD=built dpkg-buildpackage --build=binary --no-check-builddeps --no-sign) >"$out/log" 2>&1; then
    cat "$out/log" >&2
    exit 1
fi
rm -rf "$source"
echo "deb: $(cd "$out" && echo *.deb) in $out"

#!/bin/sh
# Builds the agent as one static file that needs nothing around it: no libraries, no /etc, no /proc.
# For guests without a package, and for an initramfs. The result: target/static/fence_xvm, and
# fence_virt as a link to it.
set -eu

cd "$(dirname "$0")/.."
host=$(rustc -vV | sed -n 's/^host: //p')
build=target/static-build
out=target/static

# A static program cannot look for getrandom(2) in the C library at run time, and an initramfs may
# have no /dev/urandom: make the system call. An explicit target keeps the flags away from
# procedural macros, which cannot be static.
RUSTFLAGS="${RUSTFLAGS:-} -C target-feature=+crt-static --cfg getrandom_backend=\"linux_getrandom\"" \
    cargo build --locked --release -p fence-xvm --target "$host" --target-dir "$build"

mkdir -p "$out"
cp "$build/$host/release/fence_xvm" "$out/fence_xvm.new"
if ldd "$out/fence_xvm.new" 2>/dev/null | grep -q '=>'; then
    echo "static-agent: $out/fence_xvm.new still needs libraries:" >&2
    ldd "$out/fence_xvm.new" >&2
    exit 1
fi
# In one step, so that a program that runs from here is not in the way.
mv "$out/fence_xvm.new" "$out/fence_xvm"
ln -sf fence_xvm "$out/fence_virt"
echo "static-agent: $out/fence_xvm, $(wc -c <"$out/fence_xvm") bytes"

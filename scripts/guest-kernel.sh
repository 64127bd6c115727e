#!/usr/bin/env bash
# Fetches the kernel that test guests boot, Debian's for clouds, and unpacks it below
# target/guests/kernel. It is not installed: that would make an initrd and touch the boot loader.
# Done once; another version is fetched after `rm -r target/guests/kernel`.
set -euo pipefail
cd "$(dirname "$0")/.."

kernel=target/guests/kernel
[ ! -e "$kernel/complete" ] || exit 0
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
chmod 755 "$work" # apt downloads as a user of its own

# The package that the meta package stands for: its name has the version.
package() {
    apt-cache depends linux-image-cloud-amd64 2>/dev/null |
        sed -n 's/.*Depends: \(linux-image-[0-9].*\)$/\1/p' | head -n 1
}

download() {
    local name
    name=$(package)
    [ -n "$name" ] && (cd "$work" && apt-get download -qq "$name" 2>"$work/said")
}

# Lists that are missing, or older than what the archive still has.
if ! download; then
    sudo=()
    ((EUID == 0)) || sudo=(sudo)
    "${sudo[@]}" apt-get update -qq
    download || {
        cat "$work/said" >&2
        echo "guest-kernel: linux-image-cloud-amd64 cannot be had from this machine's apt sources" >&2
        exit 1
    }
fi
rm -rf "$kernel"
mkdir -p "$kernel"
dpkg-deb -x "$work"/linux-image-*.deb "$kernel"
touch "$kernel/complete"
echo "guest-kernel: $(cd "$kernel/boot" && echo vmlinuz-*) in $kernel"

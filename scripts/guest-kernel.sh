#!/usr/bin/env bash
# Fetches the kernel that test guests boot, Debian's for clouds, and unpacks it below
# target/guests/kernel. It is not installed: that would make an initrd and touch the boot loader.
# Done once; another version is fetched after `rm -r target/guests/kernel`.
set -euo pipefail
cd "$(dirname "$0")/.."
# shellcheck disable=SC1091 # checked by itself
. scripts/apt-fetch.sh

kernel=target/guests/kernel
[ ! -e "$kernel/complete" ] || exit 0

# The package that the meta package stands for: its name has the version.
package() {
    apt-cache depends linux-image-cloud-amd64 2>/dev/null |
        sed -n 's/.*Depends: \(linux-image-[0-9].*\)$/\1/p' | head -n 1
}

fetch package linux-image-cloud-amd64
rm -rf "$kernel"
mkdir -p "$kernel"
dpkg-deb -x "$work"/linux-image-*.deb "$kernel"
touch "$kernel/complete"
echo "guest-kernel: $(cd "$kernel/boot" && echo vmlinuz-*) in $kernel"

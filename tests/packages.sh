#!/usr/bin/env bash
# Our packages take the place of the original's and give it back, on a machine that has been configured:
# with the daemon running, files changed by the administrator, packages half installed, removed, purged.
# Everything is done on a copy of this machine (an overlay that is thrown away) with processes and a
# network of its own; domains are those of libvirt's test driver.
#
# FENCE_DEBS, C_DEBS: directories with the packages; unset: target/deb and target/original, made here
# first, of the release build or of BUILD. Words choose groups of cases by their names. Needs root.
set -euo pipefail

cd "$(dirname "$0")/.."
fail() {
    echo "packages: $*" >&2
    exit 1
}

# make install and make uninstall, below DESTDIR.
from_source() {
    local root prefix
    root=$(mktemp -d)
    for prefix in /usr /opt/fence; do
        make -s install BUILD="$BUILD" PREFIX=$prefix DESTDIR="$root"
        "$root$prefix/sbin/fence_virt" -o metadata </dev/null | grep -q 'resource-agent name="fence_virt"' ||
            fail "fence_virt was not installed"
        grep -q "^ExecStart=$prefix/sbin/fence_virtd " "$root$prefix/lib/systemd/system/fence_virtd.service" ||
            fail "the unit starts another program"
        cmp -s etc/fence_virt.conf "$root/etc/fence_virt.conf" || fail "no configuration"
        echo "# changed" >>"$root/etc/fence_virt.conf"
        make -s install BUILD="$BUILD" PREFIX=$prefix DESTDIR="$root"
        [ "$(tail -n 1 "$root/etc/fence_virt.conf")" = "# changed" ] || fail "the configuration was replaced"
        make -s uninstall PREFIX=$prefix DESTDIR="$root"
        [ "$(find "$root" ! -type d)" = "$root/etc/fence_virt.conf" ] ||
            fail "left after uninstall: $(find "$root" ! -type d)"
        rm "$root/etc/fence_virt.conf"
    done
    rm -r "$root"
    echo "packages: make install, make uninstall: ok"
}

if [ "${1:-}" != apart ]; then
    ((EUID == 0)) || fail "needs root, for an overlay and namespaces: run it with sudo"
    if [ -z "${FENCE_DEBS:-}" ]; then
        # The same build as the bench's, so that it is not done twice.
        [ -n "${BUILD:-}" ] || cargo build --release --quiet -p fence-virtd -p fence-xvm -p fence-bench
        export BUILD=${BUILD:-${CARGO_TARGET_DIR:-target}/release}
        scripts/deb.sh
    fi
    [ -n "${C_DEBS:-}" ] || scripts/original-packages.sh
    [ -z "${BUILD:-}" ] || from_source
    # start-stop-daemon looks at every process there is: it must see those of the copy only.
    work=$(mktemp -d)
    trap 'rmdir "$work"' EXIT
    unshare --mount --pid --net --uts --ipc --fork --kill-child --mount-proc --propagation private \
        "$0" apart "$work" "$@"
    exit
fi
work=$2
shift 2

# In a mount namespace of its own: nothing here needs to be undone.
mount -t tmpfs -o mode=755 fence "$work"
mkdir "$work/up" "$work/work" "$work/root"
mount -t overlay -o "lowerdir=/,upperdir=$work/up,workdir=$work/work" overlay "$work/root" ||
    fail "this machine does not let root mount an overlay: in a container, run it privileged"
root=$work/root
mount -t proc proc "$root/proc"
mount --rbind /dev "$root/dev"
mount -t tmpfs -o mode=755 run "$root/run"
mount -t tmpfs -o mode=1777 tmp "$root/tmp"
mkdir -p "$root/run/lock" "$root/fence/ours" "$root/fence/c"
cp "${FENCE_DEBS:-target/deb}"/*.deb "$root/fence/ours/"
cp "${C_DEBS:-target/original}"/*.deb "$root/fence/c/"
cp tests/packages/cases.sh "$root/fence/cases.sh"
# A machine whose init is running services, and that has no time for indexes of manual pages.
rm -f "$root/usr/sbin/policy-rc.d" "$root/var/lib/man-db/auto-update" "$root/sbin/runlevel"
printf '#!/bin/sh\necho N 2\n' >"$root/sbin/runlevel"
chmod 755 "$root/sbin/runlevel"
ip link set lo up multicast on
ip route add 224.0.0.0/4 dev lo
# Not chroot, in which invoke-rc.d does nothing.
cd "$root"
pivot_root . mnt
umount -l /mnt
exec env -i PATH=/usr/sbin:/usr/bin:/sbin:/bin LC_ALL=C.UTF-8 HOME=/root bash /fence/cases.sh "$@"

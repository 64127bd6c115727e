#!/usr/bin/env bash
# The first process of a copy of this machine: makes it, and becomes its init, which runs cases.sh.
# Called by packages.sh, in namespaces of its own: nothing here needs to be undone.
#
# usage: machine.sh DIRECTORY sysv|systemd [GROUP…]; FENCE_DEBS and C_DEBS name the packages
set -euo pipefail
work=$1
init=$2
shift 2

fail() {
    echo "packages: $*" >>"$work/shared/out"
    echo 1 >"$work/shared/code"
    exit 1
}

root=$work/root
mkdir "$work/layer"
mount -t tmpfs -o mode=755 tmpfs "$work/layer"
mkdir "$work/layer/upper" "$work/layer/work"
mount -t overlay -o "lowerdir=/,upperdir=$work/layer/upper,workdir=$work/layer/work" overlay "$root" ||
    fail "this machine does not let root mount an overlay: in a container, run it privileged"

mkdir -p "$root/fence/ours" "$root/fence/c" "$root/fence/shared"
cp "$FENCE_DEBS"/*.deb "$root/fence/ours/"
cp "$C_DEBS"/*.deb "$root/fence/c/"
cp tests/packages/cases.sh "$root/fence/cases.sh"
mount --bind "$work/shared" "$root/fence/shared"

cd "$root"
mount -t proc proc proc
# The kernel is this machine's.
mount --bind proc/sys proc/sys
mount -o remount,bind,ro proc/sys
mount -t sysfs -o ro sysfs sys
[ "$init" = sysv ] || mount -t cgroup2 cgroup2 sys/fs/cgroup || fail "cannot mount the control groups"
mount -t tmpfs -o mode=755 tmpfs run
mount -t tmpfs -o mode=1777 tmpfs tmp
mount -t tmpfs -o mode=755 tmpfs dev
mkdir -p run/lock dev/pts dev/shm
for node in null zero full random urandom tty; do
    touch dev/$node
    mount --bind /dev/$node dev/$node
done
ln -s /proc/self/fd dev/fd
mount -t tmpfs -o mode=1777 tmpfs dev/shm
mount -t devpts -o newinstance,ptmxmode=0666 devpts dev/pts
ln -s pts/ptmx dev/ptmx
# Services are started there, and there is no time for indexes of manual pages.
rm -f usr/sbin/policy-rc.d var/lib/man-db/auto-update
ip link set lo up multicast on
ip route add 224.0.0.0/4 dev lo

# What runs the cases, says how they ended, and waits to be killed with everything else.
cat >fence/run.sh <<RUN
exec </dev/null >>/fence/shared/out 2>&1
export PATH=/usr/sbin:/usr/bin:/sbin:/bin LC_ALL=C.UTF-8 HOME=/root
code=0
bash /fence/cases.sh $init $* || code=\$?
echo \$code >/fence/shared/code
sleep infinity
RUN

case $init in
sysv)
    # What init scripts are asked for.
    rm -f sbin/runlevel
    printf '#!/bin/sh\necho N 2\n' >sbin/runlevel
    chmod 755 sbin/runlevel
    ;;
systemd)
    # Nothing of what this machine starts.
    rm -rf etc/systemd/system
    mkdir -p etc/systemd/system
    cat >etc/systemd/system/cases.target <<UNIT
[Unit]
Description=The machine of a test
Wants=systemd-journald.service cases.service
After=systemd-journald.service
AllowIsolate=yes
UNIT
    cat >etc/systemd/system/cases.service <<UNIT
[Service]
ExecStart=/bin/bash /fence/run.sh
UNIT
    for unit in systemd-sysctl systemd-modules-load systemd-udevd systemd-udev-trigger systemd-binfmt systemd-update-utmp; do
        ln -s /dev/null etc/systemd/system/$unit.service
    done
    ;;
esac

# Not chroot, in which invoke-rc.d does nothing.
mkdir -p old
pivot_root . old
umount -l /old
case $init in
sysv) exec env -i bash /fence/run.sh ;;
systemd)
    exec env -i container=fence /lib/systemd/systemd --unit=cases.target --show-status=no --log-target=journal \
        </dev/null >/dev/null 2>&1
    ;;
esac

#!/bin/sh
# Turns namespaces into a host: hides the machine's own files behind the host's, then becomes the
# program that collects the dead. Runs as pid 1 of a pid namespace of its own; its end is the host's.
#
#   host-init.sh NAME DISK REAPER…
#
# DISK holds what survives a loss of power, as a tree of directories that are mounted over the machine's.
set -eu
name=$1
disk=$2
shift 2

hostname "$name"
mount --make-rprivate /

# libvirt reads /proc/mounts and takes any cgroup mount for usable, hidden ones too.
umount -l /sys/fs/cgroup 2>/dev/null || true
umount -l /sys
mount -t sysfs sysfs /sys

# What is lost with the power. libqb's rings are in /dev/shm.
mount -t tmpfs run /run
mount -t tmpfs shm /dev/shm
mkdir -p /run/lock /run/libvirt

# Mount points are only ever made in these overlays: a directory of the machine that is removed anywhere
# would take the mount on it away everywhere.
for directory in etc var usr; do
    layer=/run/overlay/$directory
    mkdir -p "$layer/upper" "$layer/work"
    mount -t overlay -o "lowerdir=/$directory,upperdir=$layer/upper,workdir=$layer/work" overlay "/$directory"
done
for directory in etc/cluster etc/corosync etc/libvirt etc/pki var/cache/libvirt var/lib/corosync \
    var/lib/libvirt var/lib/pacemaker var/log/corosync var/log/libvirt var/log/pacemaker; do
    mkdir -p "$disk/$directory" "/$directory"
    mount --bind "$disk/$directory" "/$directory"
done
for file in etc/hosts etc/machine-id; do
    cp "$disk/$file" "/$file"
done
if [ -d "$disk/usr/sbin" ]; then
    cp "$disk"/usr/sbin/* /usr/sbin/
fi

touch /run/host-is-up
exec "$@"

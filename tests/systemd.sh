#!/usr/bin/env bash
# The unit file: systemd finds nothing wrong with it, and its exposure is bounded. What goes with it does what it says.
set -euo pipefail
cd "$(dirname "$0")/.."

# In tenths: 2.5 of 10.
threshold=25

command -v systemd-analyze >/dev/null || {
    echo "systemd-analyze is missing: run scripts/setup.sh test, or install the package systemd" >&2
    exit 1
}

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

# verify wants the program to be where the unit says.
mkdir -p "$work/etc/systemd/system" "$work/usr/sbin"
cp systemd/fence_virtd.service "$work/etc/systemd/system/"
sed -i "s#^ExecStart=/usr/sbin/fence_virtd#ExecStart=$work/usr/sbin/fence_virtd#" \
    "$work/etc/systemd/system/fence_virtd.service"
install -m 0755 /bin/true "$work/usr/sbin/fence_virtd"
sed -i "s#^ExecReload=/usr/sbin/fence_virtd#ExecReload=$work/usr/sbin/fence_virtd#" \
    "$work/etc/systemd/system/fence_virtd.service"
verify() {
    local complaints
    complaints=$(systemd-analyze verify --man=no "$work/etc/systemd/system/fence_virtd.service" 2>&1)
    if [ -n "$complaints" ]; then
        echo "systemd: $1: $complaints" >&2
        exit 1
    fi
}
verify fence_virtd.service
mkdir "$work/etc/systemd/system/fence_virtd.service.d"
cp systemd/examples/own-user.conf "$work/etc/systemd/system/fence_virtd.service.d/"
verify "fence_virtd.service with own-user.conf"

# The user and the directory that the files make.
systemd-sysusers --root="$work" "$PWD/systemd/sysusers.d/fence_virtd.conf" >/dev/null 2>&1
grep -q '^fence_virtd:.*:/:' "$work/etc/passwd" || {
    echo "systemd: sysusers.d/fence_virtd.conf makes no user" >&2
    exit 1
}
systemd-tmpfiles --root="$work" --create "$PWD/systemd/tmpfiles.d/fence_virtd.conf"
[ "$(stat -c %a:%u "$work/etc/cluster")" = 755:0 ] || {
    echo "systemd: tmpfiles.d/fence_virtd.conf makes no directory for keys" >&2
    exit 1
}

systemd-analyze security --offline=true --no-pager --threshold="$threshold" \
    systemd/fence_virtd.service | tail -n 1

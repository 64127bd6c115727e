#!/usr/bin/env bash
# The unit file: systemd finds nothing wrong with it, and its exposure is bounded.
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
complaints=$(systemd-analyze verify --man=no "$work/etc/systemd/system/fence_virtd.service" 2>&1)
if [ -n "$complaints" ]; then
    echo "systemd: fence_virtd.service: $complaints" >&2
    exit 1
fi
systemd-analyze security --offline=true --no-pager --threshold="$threshold" \
    systemd/fence_virtd.service | tail -n 1

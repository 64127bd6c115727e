#!/usr/bin/env bash
# Fences a VM of libvirt's built-in test driver through daemon and agent, for real. Loopback only;
# leaves nothing behind. Needs no root.
set -euo pipefail
cd "$(dirname "$0")/.."

cargo build --quiet -p fence-virtd -p fence-xvm
bin=$PWD/${CARGO_TARGET_DIR:-target}/debug
[ -x "$bin/fence_virtd" ] || bin=${CARGO_TARGET_DIR:?}/debug

work=$(mktemp -d)
daemon=
cleanup() {
    if [ -n "$daemon" ]; then
        kill -TERM "$daemon" 2>/dev/null || true
        wait "$daemon" 2>/dev/null || true
    fi
    rm -rf "$work"
}
trap cleanup EXIT
trap 'exit 1' INT TERM

# A group and port of their own, so that a real fence_virtd on this machine hears nothing.
group=239.255.12.29
port=12290

(umask 077 && head -c 4096 /dev/urandom >"$work/key")
cat >"$work/fence_virt.conf" <<CONF
fence_virtd { listener = "multicast"; backend = "libvirt"; }
listeners {
    multicast {
        key_file = "$work/key";
        address = "$group";
        port = "$port";
        interface = "lo";
    }
}
backends { libvirt { uri = "test:///default"; } }
CONF

echo "== starting fence_virtd on test:///default, multicast $group:$port on lo"
"$bin/fence_virtd" -F -f "$work/fence_virt.conf" >"$work/log" 2>&1 &
daemon=$!
ready() { grep -q " ready: " "$work/log"; }
for _ in $(seq 600); do
    ready && break
    kill -0 "$daemon" 2>/dev/null || break
    sleep 0.05
done
if ! ready; then
    echo "demo: the daemon did not start; it says:" >&2
    cat "$work/log" >&2
    exit 1
fi

# ask EXPECTED ACTION [DOMAIN]
ask() {
    local expected=$1 action=$2 code=0
    echo "\$ fence_xvm -o $action${3:+ -H $3}"
    "$bin/fence_xvm" -k "$work/key" -a "$group" -p "$port" -I lo -t 10 \
        -o "$action" ${3:+-H "$3"} || code=$?
    echo "  exit code $code"
    if ((code != expected)); then
        echo "demo: $action should have ended with $expected; the daemon says:" >&2
        cat "$work/log" >&2
        exit 1
    fi
}

ask 0 list
ask 0 status test
ask 0 off test
ask 2 status test
ask 0 on test
ask 0 status test
ask 0 reboot test

echo "== what the daemon logged"
cat "$work/log"
echo "== done: the domain 'test' was switched off, on, and rebooted by an authenticated request"

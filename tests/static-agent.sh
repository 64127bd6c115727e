#!/usr/bin/env bash
# The static agent works where there is nothing but itself and a key: no libraries, no /etc, no
# /proc, no /dev. It asks a daemon over loopback TCP and loopback multicast, in a network namespace
# of its own. Needs root or user namespaces.
#
# FENCE_VIRTD names the daemon; without it the packaged one of the original is taken.
set -eu

cd "$(dirname "$0")/.."
daemon=${FENCE_VIRTD:-/usr/sbin/fence_virtd}
agent=target/static/fence_xvm

fail() {
    echo "static-agent test: $*" >&2
    exit 1
}

if [ "${STATIC_AGENT_INSIDE:-}" = "" ]; then
    [ -x "$agent" ] || fail "no $agent: run scripts/static-agent.sh first"
    [ -x "$daemon" ] || fail "no daemon $daemon: set FENCE_VIRTD, or apt install fence-virtd"
    export STATIC_AGENT_INSIDE=1
    # Root needs no user namespace, and there may be none to have.
    user=()
    ((EUID == 0)) || user=(--map-root-user)
    exec unshare "${user[@]}" --net --mount -- "$0"
fi

work=$(mktemp -d)
pids=
cleanup() {
    for pid in $pids; do
        kill "$pid" 2>/dev/null || true
    done
    rm -rf "$work"
}
trap cleanup EXIT INT TERM

mkdir "$work/root"
cp -P target/static/fence_xvm target/static/fence_virt "$work/root/"
head -c 4096 /dev/urandom >"$work/root/key"
chmod 600 "$work/root/key"

ip link set lo up
ip route add 224.0.0.0/4 dev lo

# start LISTENER KEYS: a daemon with that listener.
start() {
    cat >"$work/$1.conf" <<EOF
fence_virtd { listener = "$1"; backend = "libvirt"; module_path = "/usr/lib/$(uname -m)-linux-gnu/fence-virt"; }
listeners { $1 { key_file = "$work/root/key"; $2 } }
backends { libvirt { uri = "test:///default"; } }
EOF
    chmod 600 "$work/$1.conf"
    "$daemon" -F -f "$work/$1.conf" -p "$work/$1.pid" >"$work/$1.log" 2>&1 &
    pids="$pids $!"
}
start tcp 'address = "127.0.0.1"; port = "1230";'
start multicast 'interface = "lo";'

# expect TEXT PROGRAM OPTIONS...: what the agent says in the empty root, once the daemon is up.
expect() {
    wanted=$1
    shift
    tries=0
    until said=$(chroot "$work/root" "$@" 2>"$work/stderr" </dev/null) && [ "$said" = "$wanted" ]; do
        tries=$((tries + 1))
        [ "$tries" -lt 20 ] || fail "$*: '$said' $(cat "$work/stderr" "$work"/*.log)"
        sleep 0.2
    done
    echo "ok: $*"
}

chroot "$work/root" /fence_xvm -o metadata </dev/null | grep -q '<resource-agent name="fence_xvm"' ||
    fail "no metadata"
echo "ok: metadata"
expect "Status: ON" /fence_virt -T 127.0.0.1 -p 1230 -k /key -o status -n test -t 5
expect "Status: ON" /fence_xvm -k /key -o status -n test -t 5 -r 5

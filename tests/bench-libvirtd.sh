#!/usr/bin/env bash
# Measures the list of 10,000 domains through a libvirtd, as every host with qemu has it: agent start
# to exit, ours and the packaged C daemon in turn. Prints a section for docs/benchmarks.md. Needs root
# (a private libvirtd in a mount namespace) and libvirt-daemon.
#
# environment: C_FENCE_VIRTD (default: in /usr/sbin)
set -euo pipefail
cd "$(dirname "$0")/.."

release=${CARGO_TARGET_DIR:-$PWD/target}/release
c_daemon=${C_FENCE_VIRTD:-/usr/sbin/fence_virtd}
domains=10000
rounds=9

work=$(mktemp -d)
cleanup() {
    for pid in "$work"/*.pid; do
        [ -s "$pid" ] && kill "$(cat "$pid")" 2>/dev/null
    done
    wait 2>/dev/null || true
    rm -rf "$work"
}
trap cleanup EXIT

head -c 4096 /dev/urandom >"$work/key"
chmod 0600 "$work/key"
ln -s "$release/fence_xvm" "$work/fence_virt"
{
    echo "<node>"
    for ((i = 0; i < domains; i++)); do
        printf '<domain type="test"><name>vm%05d</name><uuid>%08x-0000-4000-8000-000000000001</uuid>' "$i" "$i"
        echo '<memory>1024</memory><vcpu>1</vcpu><os><type>hvm</type></os></domain>'
    done
    echo "</node>"
} >"$work/domains.xml"
printf 'unix_sock_dir = "%s"\nauth_unix_rw = "none"\nauth_unix_ro = "none"\n' "$work" >"$work/libvirtd.conf"
# A libvirtd of the machine keeps its locks in /run; this one has a /run of its own.
unshare -m --propagation private sh -c 'mount -t tmpfs none /run && exec "$@"' libvirtd \
    libvirtd -t 0 -f "$work/libvirtd.conf" -p "$work/libvirtd.pid" >"$work/libvirtd.log" 2>&1 &

uri="test+unix://$work/domains.xml?socket=$work/libvirt-sock"
declare -A port=([ours]=12301 [C]=12302) daemon=([ours]=$release/fence_virtd [C]=$c_daemon)
for side in ours C; do
    cat >"$work/$side.conf" <<CONF
fence_virtd { listener = "tcp"; backend = "libvirt"; }
listeners { tcp { key_file = "$work/key"; address = "127.0.0.1"; port = "${port[$side]}"; } }
backends { libvirt { uri = "$uri"; } }
CONF
    "${daemon[$side]}" -F -w -f "$work/$side.conf" -p "$work/$side.pid" >"$work/$side.log" 2>&1 &
done

# The milliseconds of one whole list; nothing if it was not whole.
list() {
    local start end lines
    start=$(date +%s%N)
    lines=$("$work/fence_virt" -T 127.0.0.1 -p "${port[$1]}" -k "$work/key" -o list 2>/dev/null | wc -l)
    end=$(date +%s%N)
    ((lines == domains)) && echo $(((end - start) / 1000000))
}

for side in ours C; do
    for _ in $(seq 120); do
        list "$side" >/dev/null && continue 2
        sleep 0.5
    done
    echo "bench-libvirtd: $side gives no list; its log:" >&2
    cat "$work/$side.log" >&2
    exit 1
done
for _ in $(seq $rounds); do
    for side in ours C; do
        list "$side" >>"$work/$side.times"
    done
done

median() { sort -n "$work/$1.times" | sed -n "$(((rounds + 1) / 2))p"; }
ours=$(median ours)
c=$(median C)
cat <<SECTION

## The list through a libvirtd

The rows above have libvirt's test driver inside the daemons. On a host with qemu each question goes to a
libvirtd, and there the C daemon asks once for each domain. Measured by \`tests/bench-libvirtd.sh\`, agent
start to exit, median of $rounds lists of $domains domains each, in turn:

| ours | C | ours / C | to reach |
|---|---|---|---|
| $ours ms | $c ms | $(awk "BEGIN { printf \"%.2f\", $ours / $c }") | ≤ 0.2 × C: $(awk "BEGIN { print ($ours <= 0.2 * $c) ? \"reached\" : \"**missed**\" }") |
SECTION

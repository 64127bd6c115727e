#!/usr/bin/env bash
# Measures the cluster backend, ours and the packaged C one, in one run: three hosts as namespaces, each with a
# corosync, a libvirtd with the test driver and a daemon. Messages and bytes for a request and for the start
# of a domain, times of a remote domain, memory; with 10 domains on each host and with 1,000. Prints a section
# for docs/benchmarks.md. Needs root, corosync, libvirt-daemon and libvirt-clients.
#
#   tests/bench-cluster.sh [--quick]     --quick: few requests: does the harness work, and do ours fail nowhere?
#
# environment: C_FENCE_VIRTD (default: in /usr/sbin); without it, no C columns
set -euo pipefail
cd "$(dirname "$0")/.."

release=${CARGO_TARGET_DIR:-$PWD/target}/release
c_daemon=${C_FENCE_VIRTD:-/usr/sbin/fence_virtd}
sizes=(10 1000)
requests=200
c_requests=60
offs=20
idle=10
if [ "${1:-}" = --quick ]; then
    sizes=(10)
    requests=20
    c_requests=5
    offs=2
    idle=3
fi
sides=(ours)
[ ! -x "$c_daemon" ] || sides+=(C)

declare -A daemon
corosync_pids=()
prefix=fencebench$$
work=$(mktemp -d)
pids=()
stop_all() {
    local pid
    for pid in "${pids[@]}"; do kill -TERM "$pid" 2>/dev/null || true; done
    for pid in "${pids[@]}"; do
        for _ in $(seq 30); do kill -0 "$pid" 2>/dev/null || break; sleep 0.1; done
        kill -KILL "$pid" 2>/dev/null || true
        wait "$pid" 2>/dev/null || true
    done
    pids=()
}
stop_daemons() {
    local host
    for host in "${!daemon[@]}"; do kill -TERM "${daemon[$host]}" 2>/dev/null || true; done
    for host in "${!daemon[@]}"; do
        for _ in $(seq 50); do kill -0 "${daemon[$host]}" 2>/dev/null || break; sleep 0.1; done
        kill -KILL "${daemon[$host]}" 2>/dev/null || true
        wait "${daemon[$host]}" 2>/dev/null || true
    done
    daemon=()
}
cleanup() {
    local namespace
    stop_daemons
    stop_all
    for namespace in $(ip netns list | awk -v p="$prefix" 'index($1, p) == 1 { print $1 }'); do
        # shellcheck disable=SC2046 # a list of numbers
        kill -KILL $(ip netns pids "$namespace") 2>/dev/null || true
        ip netns del "$namespace"
    done
    rm -rf "$work"
}
trap cleanup EXIT
trap 'exit 130' INT TERM

fail() {
    echo "bench-cluster: $*" >&2
    tail -n 20 "$work"/*/*.log >&2 || true
    exit 1
}

cc -shared -fPIC -O2 -o "$work/count.so" tests/cpg-count.c -ldl

# A bridge, and a host at each of its ends.
ip netns add "$prefix-lan"
ip -n "$prefix-lan" link add lan type bridge mcast_snooping 0 forward_delay 0
ip -n "$prefix-lan" addr add 10.79.0.9/24 dev lan
ip -n "$prefix-lan" link set lan up
ip -n "$prefix-lan" link set lo up
head -c 4096 /dev/urandom >"$work/key"
chmod 0600 "$work/key"
{
    echo "totem {
 version: 2
 cluster_name: bench
 transport: udpu
 crypto_cipher: none
 crypto_hash: none
}
quorum {
 provider: corosync_votequorum
}
system {
 move_to_root_cgroup: no
}
logging {
 to_stderr: yes
 to_syslog: no
 to_logfile: no
}
nodelist {"
    for host in 1 2 3; do
        echo " node {
  ring0_addr: 10.79.0.$host
  name: host$host
  nodeid: $host
 }"
    done
    echo "}"
} >"$work/corosync.conf"
for host in 1 2 3; do
    ip netns add "$prefix-$host"
    ip -n "$prefix-lan" link add "port$host" type veth peer name eth0 netns "$prefix-$host"
    ip -n "$prefix-lan" link set "port$host" master lan up
    ip -n "$prefix-$host" addr add "10.79.0.$host/24" dev eth0
    ip -n "$prefix-$host" link set eth0 up
    ip -n "$prefix-$host" link set lo up
    mkdir -p "$work/$host/run" "$work/$host/shm" "$work/$host/lib"
done

# In the host's namespaces: its network, and places of its own for what corosync and libvirtd leave about.
on() {
    local host=$1
    shift
    # shellcheck disable=SC2016 # for the inner shell
    exec ip netns exec "$prefix-$host" unshare -m --propagation private sh -c '
        mount --bind "$0/shm" /dev/shm && mount --bind "$0/lib" /var/lib/corosync && mount --bind "$0/run" /run && exec "$@"' \
        "$work/$host" "$@"
}
for host in 1 2 3; do
    mkdir -p "$work/$host/run/corosync"
    on "$host" corosync -f -c "$work/corosync.conf" >"$work/$host/corosync.log" 2>&1 &
    corosync_pids+=("$!")
done
trap 'stop_all; pids=("${corosync_pids[@]}"); cleanup' EXIT
quorate() { (on "$1" corosync-quorumtool -s) 2>/dev/null | grep -q '^Nodes: *3'; }
for host in 1 2 3; do
    for _ in $(seq 120); do
        quorate "$host" && continue 2
        sleep 0.5
    done
    fail "host $host sees no cluster"
done

uuid_of() { printf '%08x-000%d-4000-8000-000000000001' "$2" "$1"; }
libvirt_uri() { echo "test+unix:///default?socket=$work/$1/libvirt-sock"; }
virsh_on() { virsh -q -c "$(libvirt_uri "$1")" "${@:2}" >/dev/null; }

# start_hypervisors DOMAINS: the test driver's default state, which all clients of a libvirtd share, without the domain
# that it has on every host, and with domains of the host's own instead.
start_hypervisors() {
    local host i
    for host in 1 2 3; do
        printf 'unix_sock_dir = "%s"\nauth_unix_rw = "none"\nauth_unix_ro = "none"\nlog_outputs = "4:stderr"\n' \
            "$work/$host" >"$work/$host/libvirtd.conf"
        on "$host" libvirtd -t 0 -f "$work/$host/libvirtd.conf" -p "$work/$host/libvirtd.pid" \
            >"$work/$host/libvirtd.log" 2>&1 &
        pids+=("$!")
    done
    for host in 1 2 3; do
        for _ in $(seq 120); do
            virsh_on "$host" list 2>/dev/null && break
            sleep 0.5
        done
        # The state lives as long as somebody is connected.
        virsh -q -c "$(libvirt_uri "$host")" event --loop --event lifecycle >/dev/null 2>&1 &
        pids+=("$!")
        sleep 0.5
        mkdir -p "$work/$host/xml"
        {
            echo "destroy test"
            echo "undefine test"
            for ((i = 0; i < $1; i++)); do
                printf '<domain type="test"><name>h%d-%04d</name><uuid>%s</uuid><memory>1024</memory>%s</domain>\n' \
                    "$host" "$i" "$(uuid_of "$host" "$i")" '<vcpu>1</vcpu><os><type>hvm</type></os>' \
                    >"$work/$host/xml/$i"
                echo "define $work/$host/xml/$i"
                printf 'start h%d-%04d\n' "$host" "$i"
            done
        } | virsh -q -c "$(libvirt_uri "$host")" >/dev/null
        [ "$(virsh -q -c "$(libvirt_uri "$host")" list --name | grep -c "^h$host-")" = "$1" ] ||
            fail "the domains of host $host could not be made"
    done
}

# The daemon of a host; leaves its process in daemon[HOST].
start_daemon() {
    local side=$1 host=$2 program=$release/fence_virtd
    local log=$work/$host/$side.log
    [ "$side" = ours ] || program=$c_daemon
    cat >"$work/$host/$side.conf" <<CONF
fence_virtd { listener = "tcp"; backend = "cpg"; }
listeners { tcp { key_file = "$work/key"; address = "10.79.0.$host"; } }
backends { cpg { uri = "$(libvirt_uri "$host")"; } }
CONF
    chmod 0600 "$work/$host/$side.conf"
    : >"$work/$host/count"
    (CPG_COUNT=$work/$host/count LD_PRELOAD=$work/count.so on "$host" "$program" -F -f "$work/$host/$side.conf" \
        -p "$work/$host/$side.pid") >"$log" 2>&1 &
    daemon[$host]=$!
}

# ask HOST ACTION DOMAIN COUNT [SECONDS]: with so much patience for each
ask() {
    ip netns exec "$prefix-lan" "$release/fence-bench" --ask "10.79.0.$1:1229" "$work/key" "$2" "$3" "$4" "${5:-10}"
}
field() { sed -n "s/.*\\<$2=\\([0-9.]*\\).*/\\1/p" <<<"$1"; }

# A C daemon that lost its start-up race has no thread for the group, and never will.
is_deaf() {
    [ "$1" = C ] && [ "$(find "/proc/${daemon[$2]}/task" -mindepth 1 -maxdepth 1 2>/dev/null | wc -l)" -lt 2 ]
}
# start_all SIDE: a daemon on each host; of a deaf one its host gets another, as an admin would.
start_all() {
    local side=$1 host tries
    stop_daemons
    for host in 1 2 3; do
        for tries in $(seq 30); do
            start_daemon "$side" "$host"
            sleep 1
            is_deaf "$side" "$host" || continue 2
            kill -KILL "${daemon[$host]}" 2>/dev/null || true
            wait "${daemon[$host]}" 2>/dev/null || true
        done
        fail "$side on host $host: no daemon joined the group in $tries tries"
    done
}

# Every host knows a domain of every other.
serves() { [ "$(field "$(ask "$1" status "h$2-0000" 1 2)" on)" = 1 ]; }
wait_for_all() {
    local side=$1 host other tries
    for tries in $(seq 10); do
        for host in 1 2 3; do
            other=$((host % 3 + 1))
            for _ in $(seq 5); do
                serves "$host" "$other" && continue 2
                sleep 0.5
            done
            [ "$side" = C ] || fail "$side does not serve on host $host"
            echo "bench-cluster: $side does not serve on host $host, try $tries" >&2
            start_all "$side"
            continue 2
        done
        return 0
    done
    fail "$side does not serve after $tries tries"
}

sent() { # messages and bytes of all three
    local host total_messages=0 total_bytes=0 messages bytes
    for host in 1 2 3; do
        read -r messages bytes < <(od -An -t u8 -w16 "$work/$host/count")
        total_messages=$((total_messages + messages))
        total_bytes=$((total_bytes + bytes))
    done
    echo "$total_messages $total_bytes $(date +%s%N)"
}
# more BEFORE AFTER IDLE COUNT: messages and bytes of each of COUNT, without what is sent when nothing happens.
more() {
    awk -v before="$1" -v after="$2" -v idle="$3" -v count="$4" 'BEGIN {
        split(before, b); split(after, a); split(idle, i)
        seconds = (a[3] - b[3]) / 1e9
        messages = (a[1] - b[1] - i[1] * seconds) / count
        bytes = (a[2] - b[2] - i[2] * seconds) / count
        printf "%.1f / %.0f", messages < 0 ? 0 : messages, bytes < 0 ? 0 : bytes
    }'
}
resident() {
    local host sum=0
    for host in 1 2 3; do
        sum=$((sum + $(awk '/^VmRSS/ { print $2 }' "/proc/${daemon[$host]}/status")))
    done
    awk "BEGIN { printf \"%.1f\", $sum / 3 / 1024 }"
}

declare -A result
measure() {
    local side=$1 size=$2 count=$requests before after rate said i
    [ "$side" = ours ] || count=$c_requests
    before=$(sent)
    sleep "$idle"
    after=$(sent)
    rate=$(awk -v b="$before" -v a="$after" 'BEGIN { split(b, x); split(a, y); s = (y[3] - x[3]) / 1e9
        printf "%f %f", (y[1] - x[1]) / s, (y[2] - x[2]) / s }')
    result[$side,$size,idle]=$(awk -v r="$rate" 'BEGIN { split(r, x); printf "%.1f / %.0f", x[1], x[2] }')

    before=$(sent)
    said=$(ask 1 status h2-0001 "$count")
    after=$(sent)
    [ "$(field "$said" on)" = "$count" ] || [ "$side" = C ] || fail "ours: status: $said"
    result[$side,$size,status]=$(more "$before" "$after" "$rate" "$count")
    result[$side,$size,p50]=$(field "$said" p50_us)
    result[$side,$size,p99]=$(field "$said" p99_us)

    local total=() time
    for ((i = 0; i < offs; i++)); do
        said=$(ask 1 off h2-0002 1)
        [ "$(field "$said" on)" = 1 ] || [ "$side" = C ] || fail "ours: off: $said"
        time=$(field "$said" p50_us)
        total+=("$time")
        virsh_on 2 start h2-0002
        sleep 0.2
    done
    result[$side,$size,off]=$(printf '%s\n' "${total[@]}" | sort -n | sed -n "$(((offs + 1) / 2))p")

    before=$(sent)
    for ((i = 0; i < offs; i++)); do
        virsh_on 3 destroy h3-0003
        virsh_on 3 start h3-0003
        sleep 0.2
    done
    after=$(sent)
    result[$side,$size,start]=$(more "$before" "$after" "$rate" "$((offs * 2))")
    result[$side,$size,memory]=$(resident)
}

for size in "${sizes[@]}"; do
    start_hypervisors "$size"
    for side in "${sides[@]}"; do
        start_all "$side"
        wait_for_all "$side"
        measure "$side" "$size"
        stop_daemons
    done
    stop_all
done

value() { echo "${result[$1]:-}"; }
ratio() { # ours C
    [ -n "$2" ] || return 0
    awk "BEGIN { printf \"%.2f\", $1 / $2 }"
}
goal() { # ours C factor
    [ -n "$2" ] || return 0
    awk "BEGIN { print ($1 <= $3 * $2) ? \"≤ $3 × C: reached\" : \"≤ $3 × C: **missed**\" }"
}
echo
echo "## The cluster"
echo
echo "Three hosts, each with a corosync, a libvirtd with the test driver and a daemon with backend \`cpg\`; host 1 is asked"
echo "over TCP for a domain of host 2. Measured by \`tests/bench-cluster.sh\`: messages and bytes are what all three daemons give to"
echo "\`cpg_mcast_joined\`, less what they send when nothing happens. A change is a stop or a start of a domain; the C daemon"
echo "does not tell the others of one. *off* may be a little slower than C's where there are few domains: ours announces what it"
echo "does before it does it."
for size in "${sizes[@]}"; do
    echo
    echo "$size domains on each host:"
    echo
    echo "| | ours | C | ours / C | to reach |"
    echo "|---|---|---|---|---|"
    for row in "idle:sent in a second when nothing happens, messages / bytes" "status:for a status request, messages / bytes" \
        "start:for a change of a domain, messages / bytes"; do
        name=${row%%:*}
        echo "| ${row#*:} | $(value "ours,$size,$name") | $(value "C,$size,$name") | | |"
    done
    factor=1
    [ "$size" -lt 1000 ] || factor=0.1
    for row in "p50:status, p50, µs" "p99:status, p99, µs"; do
        name=${row%%:*}
        ours=$(value "ours,$size,$name")
        c=$(value "C,$size,$name")
        echo "| ${row#*:} | $ours | $c | $(ratio "$ours" "$c") | $(goal "$ours" "$c" "$factor") |"
    done
    ours=$(value "ours,$size,off")
    c=$(value "C,$size,off")
    echo "| off, median, µs | $ours | $c | $(ratio "$ours" "$c") | |"
    ours=$(value "ours,$size,memory")
    c=$(value "C,$size,memory")
    echo "| memory of a daemon, MiB | $ours | $c | $(ratio "$ours" "$c") | |"
done

#!/usr/bin/env bash
# The unit under a real systemd, the first process of namespaces of its own: start, what `systemctl status` shows,
# the sandbox with libvirt, corosync, its own user, reload, the watchdog, the journal's fields, stop.
#
# FENCE_VIRTD, FENCE_XVM: our programs; unset: built here.
# shellcheck disable=SC2317,SC2329 # called by name
set -Eeuo pipefail
cd "$(dirname "$0")/.."

if [ "$(id -u)" != 0 ]; then
    echo "tests/systemd-unit.sh makes namespaces and needs root: run it with sudo" >&2
    exit 1
fi
for program in systemctl journalctl corosync pacemakerd libvirtd virsh unshare nsenter pgrep; do
    command -v "$program" >/dev/null || {
        echo "$program is missing: run scripts/setup.sh test" >&2
        exit 1
    }
done

target=${CARGO_TARGET_DIR:-target}
if [ -z "${FENCE_VIRTD:-}" ] || [ -z "${FENCE_XVM:-}" ]; then
    cargo build --quiet -p fence-virtd -p fence-xvm
fi
FENCE_VIRTD=$(realpath "${FENCE_VIRTD:-$target/debug/fence_virtd}")
FENCE_XVM=$(realpath "${FENCE_XVM:-$target/debug/fence_xvm}")

work=$(mktemp -d /tmp/fence-systemd.XXXXXX)
# Where this machine has its second hierarchy of control groups, or its only one.
for groups in /sys/fs/cgroup/unified /sys/fs/cgroup; do
    [ "$(stat -f -c %T "$groups" 2>/dev/null)" = cgroup2fs ] && break
done
group=$groups/$(basename "$work")

# Everything in the machine is a descendant of its first process, and dies with it.
machine=
clean() {
    [ -z "$machine" ] || kill -KILL "$machine" 2>/dev/null || true
    local tries
    for tries in $(seq 50); do
        find "$group" -mindepth 1 -depth -type d -exec rmdir {} + 2>/dev/null || true
        rmdir "$group" 2>/dev/null && break
        sleep 0.1
    done
    rm -rf "$work"
}
trap clean EXIT
trap 'exit 130' INT TERM

trap 'fail "line $LINENO: $BASH_COMMAND"' ERR
say() { printf '%s\n' "$*"; }
fail() {
    trap - ERR
    say "FAILED: $*" >&2
    [ -z "$machine" ] || inside journalctl --no-pager -n 40 -o short-monotonic >&2 || true
    exit 1
}
inside() { timeout 20 nsenter -t "$machine" -m -p -u -i -n -C -r -w "$@"; }
until_true() {
    local what=$1 tries
    shift
    for tries in $(seq 300); do
        "$@" && return
        sleep 0.1
    done
    fail "never came: $what (after $tries tries)"
}
property() { inside systemctl show -P "$1" fence_virtd; }
# shellcheck disable=SC2053 # a pattern
is() { [[ $(property "$1") == $2 ]]; }

# ---------------------------------------------------------------- the machine

cat >"$work/init" <<INIT
#!/bin/bash
set -e
mount --make-rprivate /
mkdir $work/fs
mount -t tmpfs tmpfs $work/fs
mkdir $work/fs/upper $work/fs/work $work/fs/root
mount -t overlay overlay -o lowerdir=/,upperdir=$work/fs/upper,workdir=$work/fs/work $work/fs/root
cd $work/fs/root
mount -t proc proc proc
# The kernel is this machine's.
mount --bind proc/sys proc/sys
mount -o remount,bind,ro proc/sys
mount -t sysfs -o ro sysfs sys
mount -t cgroup2 cgroup2 sys/fs/cgroup
for place in run dev tmp var/lib/libvirt var/lib/corosync etc/corosync etc/cluster; do
    mkdir -p \$place
    mount -t tmpfs -o mode=755 tmpfs \$place
done
chmod 1777 tmp
mkdir dev/pts dev/shm
for node in null zero full random urandom tty; do
    touch dev/\$node
    mount --bind /dev/\$node dev/\$node
done
ln -s /proc/self/fd dev/fd
mount -t tmpfs -o mode=1777 tmpfs dev/shm
mount -t devpts -o newinstance,ptmxmode=0666 devpts dev/pts
ln -s pts/ptmx dev/ptmx
# Nothing of what this machine starts.
rm -rf etc/systemd/system
mkdir -p etc/systemd/system
cp -r $work/etc/. etc/
cp -r --remove-destination $work/usr/. usr/
mkdir old
pivot_root . old
umount -l /old
ip link set lo up
export container=fence
exec /lib/systemd/systemd --unit=fence-test.target --show-status=no --log-target=journal </dev/null >/dev/null 2>&1
INIT
chmod +x "$work/init"

etc=$work/etc
units=$etc/systemd/system
mkdir -p "$units/fence_virtd.service.d" "$etc/cluster" "$etc/corosync/uidgid.d" "$etc/default" "$work/usr/sbin" "$work/usr/lib/sysusers.d"
cp systemd/fence_virtd.service "$units/"
cp systemd/sysusers.d/fence_virtd.conf "$work/usr/lib/sysusers.d/"
install "$FENCE_VIRTD" "$work/usr/sbin/fence_virtd"
install "$FENCE_XVM" "$work/usr/sbin/fence_xvm"
ln -s fence_xvm "$work/usr/sbin/fence_virt"
cat >"$units/fence-test.target" <<UNIT
[Unit]
Description=The machine of a test
Wants=systemd-journald.service dbus.socket
After=systemd-journald.service
AllowIsolate=yes
UNIT
for unit in systemd-sysctl systemd-modules-load systemd-udevd systemd-udev-trigger systemd-binfmt systemd-update-utmp; do
    ln -s /dev/null "$units/$unit.service"
done
cat >"$units/libvirtd.service" <<UNIT
[Unit]
Description=libvirtd of a test
[Service]
ExecStart=/usr/sbin/libvirtd -f /etc/libvirtd-test.conf
UNIT
cat >"$etc/libvirtd-test.conf" <<CONF
unix_sock_group = "libvirt"
unix_sock_rw_perms = "0770"
auth_unix_rw = "none"
auth_unix_ro = "none"
CONF
cat >"$units/corosync.service" <<UNIT
[Unit]
Description=corosync of a test
[Service]
ExecStart=/usr/sbin/corosync -f
UNIT
cat >"$etc/corosync/corosync.conf" <<CONF
totem {
	version: 2
	cluster_name: test
	transport: udpu
	crypto_cipher: none
	crypto_hash: none
}
system {
	sched_rr: no
	move_to_root_cgroup: no
}
nodelist {
	node {
		ring0_addr: 127.0.0.1
		name: host1
		nodeid: 1
	}
}
quorum {
	provider: corosync_votequorum
	expected_votes: 1
}
logging {
	to_syslog: no
	to_stderr: yes
}
CONF
(umask 077 && head -c 4096 /dev/urandom >"$etc/cluster/fence_xvm.key")

# configure BACKEND URI [LINES OF LISTENERS]
configuration() {
    cat <<CONF
fence_virtd { listener = "tcp"; backend = "$1"; }
listeners { tcp { address = "127.0.0.1"; } ${3:-} }
backends { $1 { uri = "$2"; } }
CONF
}
configuration libvirt test:///default >"$etc/fence_virt.conf"

mkdir "$group"
bash -c 'echo $$ >"$1/cgroup.procs" && exec unshare --cgroup --mount --pid --fork --uts --ipc --net "$2"' \
    start "$group" "$work/init" &
launcher=$!
child() { machine=$(pgrep -P "$launcher") && [ -n "$machine" ]; }
until_true "the machine" child
running() { [ "$(inside systemctl is-system-running 2>/dev/null)" = running ]; }
until_true "systemd" running

# ---------------------------------------------------------------- the cases

agent() { inside fence_virt -T 127.0.0.1 "$@"; }
install_configuration() { cat | inside tee /etc/fence_virt.conf >/dev/null; }
serves() { is StatusText "serving *" && is ActiveState active; }
drop_in() { cat | inside tee "/etc/systemd/system/fence_virtd.service.d/$1.conf" >/dev/null; inside systemctl daemon-reload; }
no_drop_in() { inside rm -f "/etc/systemd/system/fence_virtd.service.d/$1.conf"; inside systemctl daemon-reload; }
# How many entries the journal has with all these fields.
entries() { inside journalctl --no-pager -q -o cat "$@" | wc -l; }
state_of() { inside cat "/proc/$(property MainPID)/status" | awk -v key="$1:" '$1 == key { print $2 }'; }

start_is_ready_when_it_serves() {
    inside systemctl start fence_virtd
    serves || fail "status: $(property StatusText)"
    [ "$(property WatchdogUSec)" = 20s ] || fail "watchdog: $(property WatchdogUSec)"
    [ "$(property OOMScoreAdjust)" = -900 ] || fail "OOMScoreAdjust: $(property OOMScoreAdjust)"
    # In a container root may lack the right to lower it, and systemd goes on without.
    local expected=-900
    (echo $expected >/proc/self/oom_score_adj) 2>/dev/null || expected=$(cat /proc/self/oom_score_adj)
    local found
    found=$(inside cat "/proc/$(property MainPID)/oom_score_adj")
    [ "$found" = "$expected" ] || fail "oom_score_adj: $found"
    agent -o status -H test >/dev/null
}

fence_is_one_entry_with_fields() {
    agent -o off -H test
    inside journalctl --sync
    local match=(FENCE_ACTION=off FENCE_DOMAIN=test FENCE_REPLY=success FENCE_LISTENER=tcp PRIORITY=6 SYSLOG_IDENTIFIER=fence_virtd _SYSTEMD_UNIT=fence_virtd.service)
    [ "$(entries "${match[@]}")" = 1 ] || fail "not one entry of the fence: $(inside journalctl --no-pager -o verbose)"
    inside journalctl --no-pager -q -o json --output-fields=FENCE_PROOF,FENCE_ELAPSED_MS,FENCE_PEER "${match[@]}" |
        grep -q '"FENCE_PROOF":"destroyed, and off by the word of test:///default"' || fail "no proof in the entry"
    [ "$(entries FENCE_DOMAIN=test)" = 1 ] || fail "more than one entry of the fence"
    agent -o on -H test
}

reload_of_a_bad_file_fails_and_the_old_one_stays() {
    local pid
    pid=$(property MainPID)
    configuration libvirt test:///default 'multicast { port = "70000"; }' | sed 's/"tcp"/"multicast"/' | install_configuration
    ! inside systemctl reload fence_virtd 2>/dev/null || fail "the reload of a bad file succeeds"
    inside kill -HUP "$pid"
    refused() { is StatusText "serving tcp; test:///default answers; *not read anew: *fence_virt.conf:2:*70000*"; }
    until_true "the refusal in the status" refused
    { is ActiveState active && [ "$(property MainPID)" = "$pid" ]; } || fail "the daemon did not go on"
    agent -o status -H test >/dev/null
}

reload_opens_another_listener_in_the_same_process() {
    local pid
    pid=$(property MainPID)
    configuration libvirt test:///default 'tcp = "second" { address = "127.0.0.1"; port = "1230"; }' | install_configuration
    inside systemctl reload fence_virtd
    both() { is StatusText "serving second, tcp;*" && is ActiveState active; }
    until_true "both listeners" both
    [ "$(property MainPID)" = "$pid" ] || fail "it is another process"
    agent -p 1230 -o status -H test >/dev/null
    configuration libvirt test:///default | install_configuration
    inside systemctl reload fence_virtd
    one() { is StatusText "serving tcp; test:///default answers" && is ActiveState active; }
    until_true "one listener" one
}

reload_changes_what_is_logged() {
    local match=(FENCE_ACTION=status PRIORITY=7)
    [ "$(entries "${match[@]}")" = 0 ] || fail "questions are logged already"
    configuration libvirt test:///default | sed 's/backend/debug = "warn,session=debug"; backend/' | install_configuration
    inside systemctl reload fence_virtd
    logged() {
        agent -o status -H test >/dev/null
        [ "$(entries "${match[@]}")" != 0 ]
    }
    until_true "a question in the journal" logged
    configuration libvirt test:///default | install_configuration
    inside systemctl reload fence_virtd
}

process_that_stands_still_is_ended_and_started_anew() {
    printf '[Service]\nWatchdogSec=3\nTimeoutStopSec=1\n' | drop_in watchdog
    inside systemctl restart fence_virtd
    local pid
    pid=$(property MainPID)
    # Left alone it lives on for much longer than that.
    sleep 7
    [ "$(property MainPID)" = "$pid" ] || fail "a daemon that is well was ended"
    inside kill -STOP "$pid"
    anew() { is NRestarts 1 && [ "$(property MainPID)" != "$pid" ] && serves; }
    until_true "another process" anew
    agent -o status -H test >/dev/null
    no_drop_in watchdog
    inside systemctl restart fence_virtd
}

process_that_is_killed_is_started_anew() {
    local pid
    pid=$(property MainPID)
    inside kill -KILL "$pid"
    again() { [ "$(property MainPID)" != "$pid" ] && serves; }
    until_true "another process" again
}

unusable_file_is_not_tried_again() {
    echo 'fence_virtd { listener = "tcp"; }' | install_configuration
    ! inside systemctl restart fence_virtd 2>/dev/null || fail "it starts with an unusable file"
    is ActiveState failed || fail "it is tried again: $(property ActiveState)"
    is ExecMainStatus 2 || fail "exit code $(property ExecMainStatus)"
    configuration libvirt test:///default | install_configuration
    inside systemctl restart fence_virtd
}

libvirtd='test+unix:///default?socket=/run/libvirt/libvirt-sock'

it_says_what_it_waits_for_and_begins_when_that_is_there() {
    configuration libvirt "$libvirtd" | install_configuration
    inside systemctl restart --no-block fence_virtd
    waits() { is StatusText "waiting: no hypervisor*" && is ActiveState activating; }
    until_true "the daemon to wait" waits
    inside systemctl start libvirtd
    until_true "the daemon to serve" serves
    agent -o reboot -H test
}

hypervisor_that_goes_is_no_reason_to_end() {
    local pid
    pid=$(property MainPID)
    inside systemctl stop libvirtd
    ! agent -o off -H test -t 5 2>/dev/null || fail "off succeeds without a hypervisor"
    { is ActiveState active && [ "$(property MainPID)" = "$pid" ]; } || fail "the daemon did not go on"
    inside systemctl start libvirtd
    back() { agent -o status -H test >/dev/null 2>&1; }
    until_true "the hypervisor to be found again" back
}

corosync_is_reached_from_the_sandbox() {
    inside systemctl start corosync
    configuration cpg "$libvirtd" | install_configuration
    inside systemctl restart fence_virtd
    member() { is StatusText "serving tcp; cluster of 1 member, quorum; 1 domain here"; }
    until_true "the cluster in the status" member
    until_true "an answer" agent -o status -H test
    agent -o reboot -H test
}

sockets_of_all_kinds_can_be_had_in_the_sandbox() {
    inside ip link add guests0 type veth peer name guests1
    inside ip link set guests1 up
    inside ip addr add 10.9.9.1/24 dev guests0
    inside ip link set guests0 up multicast on
    inside ip route add 224.0.0.0/4 dev guests0
    # A socket as the hypervisor makes it: its own user's alone.
    inside install -d -m 0750 -o nobody -g nogroup /var/lib/libvirt/qemu
    printf '[Socket]\nListenStream=/var/lib/libvirt/qemu/vm.serial\nSocketUser=nobody\nSocketMode=0600\n' |
        inside tee /etc/systemd/system/line.socket >/dev/null
    printf '[Service]\nExecStart=/bin/sleep 1d\n' | inside tee /etc/systemd/system/line.service >/dev/null
    inside systemctl daemon-reload
    inside systemctl start line.socket
    cat <<XML | inside tee /tmp/vm.xml >/dev/null
<domain type='test'><name>vm</name><memory>1024</memory><os><type>hvm</type></os><devices>
<serial type='unix'><source mode='bind' path='/var/lib/libvirt/qemu/vm.serial'/><target port='1'/></serial>
</devices></domain>
XML
    cat <<CONF | install_configuration
fence_virtd { listener = "multicast"; listener = "vsock"; listener = "serial"; backend = "libvirt"; debug = "warn,session=info,listener::serial=debug"; }
listeners { serial { uri = "$libvirtd"; path = "/var/lib/libvirt/qemu"; } vsock { port = "12290"; } }
backends { libvirt { uri = "$libvirtd"; } }
CONF
    inside systemctl restart fence_virtd
    is StatusText "serving multicast, serial, vsock;*" || fail "status: $(property StatusText)"
    # The driver keeps its domains as long as somebody is connected to it.
    inside virsh -q -c "$libvirtd" create /tmp/vm.xml
    connected() { inside journalctl -q --no-pager -o cat FENCE_LISTENER=serial | grep -q "connected to .*vm.serial"; }
    until_true "the serial line" connected
    inside fence_xvm -o reboot -H test
}

it_runs_as_a_user_of_its_own() {
    inside systemd-sysusers fence_virtd.conf
    inside usermod -aG libvirt fence_virtd
    inside chgrp fence_virtd /etc/cluster/fence_xvm.key
    inside chmod 0640 /etc/cluster/fence_xvm.key
    inside tee /etc/corosync/uidgid.d/fence_virtd <systemd/examples/corosync-uidgid >/dev/null
    allowed() { inside corosync-cfgtool -R >/dev/null 2>&1; }
    until_true "corosync to read who is allowed" allowed
    drop_in own-user <systemd/examples/own-user.conf
    configuration cpg "$libvirtd" | install_configuration
    inside systemctl restart fence_virtd
    until_true "the cluster in the status" member
    [ "$(state_of Uid)" = "$(inside id -u fence_virtd)" ] || fail "it runs as $(state_of Uid)"
    [ "$(state_of CapEff)" = 0000000000000000 ] || fail "it has the rights $(state_of CapEff)"
    until_true "an answer" agent -o status -H test
    agent -o reboot -H test
    inside systemctl reload fence_virtd
    agent -o off -H test
    no_drop_in own-user
}

# In the sandbox, as root and as the user of its own.
program_of_pacemaker_is_run_in_the_sandbox() {
    inside systemctl start pacemaker
    local ask=(/usr/sbin/stonith_admin --history host1 --output-as=xml)
    asked() { inside "${ask[@]}" >/dev/null 2>&1; }
    until_true "pacemaker's fencer" asked
    printf '[Service]\nExecStartPost=%s\n' "${ask[*]}" | drop_in proof
    inside systemctl restart fence_virtd
    sed 's/^#SupplementaryGroups=haclient/SupplementaryGroups=haclient/' systemd/examples/own-user.conf | drop_in own-user
    inside systemctl restart fence_virtd
    [ "$(state_of Uid)" = "$(inside id -u fence_virtd)" ] || fail "it runs as $(state_of Uid)"
    no_drop_in own-user
    no_drop_in proof
}

stop_is_an_end_in_good_order() {
    inside systemctl stop fence_virtd
    { is ActiveState inactive && is Result success && is ExecMainStatus 0; } || fail "$(property ActiveState), $(property Result), $(property ExecMainStatus)"
}

passed=0
for name in \
    start_is_ready_when_it_serves \
    fence_is_one_entry_with_fields \
    reload_of_a_bad_file_fails_and_the_old_one_stays \
    reload_opens_another_listener_in_the_same_process \
    reload_changes_what_is_logged \
    process_that_stands_still_is_ended_and_started_anew \
    process_that_is_killed_is_started_anew \
    unusable_file_is_not_tried_again \
    it_says_what_it_waits_for_and_begins_when_that_is_there \
    hypervisor_that_goes_is_no_reason_to_end \
    corosync_is_reached_from_the_sandbox \
    sockets_of_all_kinds_can_be_had_in_the_sandbox \
    it_runs_as_a_user_of_its_own \
    program_of_pacemaker_is_run_in_the_sandbox \
    stop_is_an_end_in_good_order; do
    began=$SECONDS
    "$name"
    say "ok: ${name//_/ } ($((SECONDS - began)) s)"
    passed=$((passed + 1))
done
echo "$passed passed, 0 failed"

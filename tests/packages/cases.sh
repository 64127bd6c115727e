# shellcheck shell=bash
# Run by machine.sh in the copy of the machine, where /fence/ours and /fence/c hold the packages.
#
# usage: cases.sh sysv|systemd [GROUP…]
set -Eeuo pipefail
trap 'fail "line $LINENO: $BASH_COMMAND"' ERR
init=$1
shift

conf=/etc/fence_virt.conf
key=/etc/fence_virt.key
ours=(/fence/ours/fence-virtd_*.deb /fence/ours/fence-virt_*.deb)
original=(/fence/c/fence-virtd_*.deb /fence/c/fence-virt_*.deb)

fail() {
    trap - ERR
    echo "packages: $init: $case: $*" >&2
    cat /tmp/said >&2
    exit 1
}

begin() {
    case=$1
    : >/tmp/said
}

# Runs a program without anybody who could answer a question.
quietly() { timeout -k 5 120 "$@" </dev/null >/tmp/said 2>&1; }
must() { quietly "$@" || fail "failed: $*"; }
must_not() { ! quietly "$@" || fail "should have failed: $*"; }
install() { must dpkg -i "$@"; }

# A machine as it was before any fence_virt.
bare() {
    must dpkg --purge --force-remove-reinstreq fence-virtd fence-virt
    rm -rf $conf* $key* /etc/default/fence_virtd /etc/cluster
    [ ! -e /etc/init.d/fence_virtd ] || fail "purging left the init script"
    [ -z "$(processes)" ] || fail "purging left a daemon"
}

processes() {
    local exe
    for exe in /proc/[0-9]*/exe; do
        case $(readlink "$exe") in
        /usr/sbin/fence_virtd | "/usr/sbin/fence_virtd (deleted)") echo "${exe//[!0-9]/}" ;;
        esac
    done
}

# Installs the original, and does what its administrator does.
configured_original() {
    bare
    install "${original[@]}"
    cat >$conf <<EOF
# Changed by hand.
fence_virtd { listener = "multicast"; backend = "libvirt"; }
listeners { multicast { key_file = "$key"; interface = "lo"; } }
backends { libvirt { uri = "test:///default"; } }
EOF
    chmod 640 $conf
    restart
    remember
}

restart() {
    case $init in
    sysv) must invoke-rc.d fence_virtd restart ;;
    systemd) must systemctl restart fence_virtd ;;
    esac
}

# What nothing may change: content, mode, owner and age of configuration and key.
state() { stat -c '%n %a %U %G %Y %s' $conf $key && sha256sum $conf $key; }
remember() { state >/tmp/before; }
unchanged() { state | diff /tmp/before - >/tmp/said || fail "configuration or key changed"; }

# daemon_is DIRECTORY: exactly one daemon runs, from that package.
daemon_is() {
    local pid tries=0
    until pid=$(processes) && [ "$(wc -w <<<"$pid")" = 1 ] &&
        cmp -s "/proc/$pid/exe" "/fence/$1/root/usr/sbin/fence_virtd"; do
        ((++tries < 100)) || fail "not one daemon from $1: $(processes)"
        sleep 0.1
    done
    case $init in
    sysv) [ "$(cat /run/fence_virtd.pid)" = "$pid" ] || fail "the pid file is wrong" ;;
    systemd)
        [ "$(systemctl show -P MainPID fence_virtd)" = "$pid" ] || fail "systemd knows another daemon"
        until [ "$(systemctl show -P ActiveState fence_virtd)" = active ]; do
            ((++tries < 100)) || fail "the service is not active"
            sleep 0.1
        done
        ;;
    esac
}

# fenced: the agents of both packages, and those that are installed, switch the domain off and on.
fenced() {
    local agent
    for agent in /fence/c/root/usr/sbin/fence_xvm /fence/ours/root/usr/sbin/fence_xvm /usr/sbin/fence_xvm; do
        [ -x "$agent" ] || continue
        ask "$agent" 0 on
        ask "$agent" 0 off
        ask "$agent" 2 status
        ask "$agent" 0 on
        ask "$agent" 0 status
    done
}

# ask AGENT CODE ACTION
ask() {
    local code=0
    quietly "$1" -k $key -t 10 -r 2 -H test -o "$3" || code=$?
    [ "$code" = "$2" ] || fail "$1 -o $3 ended with $code, not with $2"
}

agent_is() {
    local name
    for name in fence_xvm fence_virt; do
        cmp -s "/usr/sbin/$name" "/fence/$1/root/usr/sbin/$name" || fail "$name is not from $1"
        must "$name" -o metadata
        grep -q "<resource-agent name=\"$name\"" /tmp/said || fail "$name does not know its name"
    done
}

enabled() { [ -L /etc/systemd/system/multi-user.target.wants/fence_virtd.service ]; }

swap_and_back() {
    begin "the original's packages are replaced one by one, and come back"
    configured_original
    enabled || fail "the original's service is not enabled"
    daemon_is c
    agent_is c
    fenced

    install "${ours[0]}"
    unchanged
    daemon_is ours
    agent_is c
    fenced
    enabled || fail "the service is not enabled any more"
    grep -q Type=notify /lib/systemd/system/fence_virtd.service || fail "the unit is not ours"

    install "${ours[1]}"
    agent_is ours
    unchanged
    fenced

    # Agent first on the way back.
    install "${original[1]}"
    agent_is c
    daemon_is ours
    install "${original[0]}"
    unchanged
    daemon_is c
    fenced
    enabled || fail "the original's service is not enabled again"
    # Some machines keep no manuals; the configuration is the administrator's.
    if dpkg --verify fence-virt fence-virtd | grep -qv -e " $conf\$" -e ' /usr/share/\(man\|doc\)/'; then
        fail "files of the original's packages differ: $(dpkg --verify fence-virt fence-virtd)"
    fi
}

with_apt() {
    begin "apt takes ours for an upgrade, and goes back when told"
    configured_original
    must apt-get install -y "${ours[@]}"
    unchanged
    daemon_is ours
    # A later version of the original does not take over by itself.
    must dpkg --compare-versions "$(dpkg-query -Wf '${Version}' fence-virtd)" gt 99-1
    must apt-get install -y --allow-downgrades "${original[@]}"
    unchanged
    daemon_is c
}

questions() {
    begin "dpkg's options for changed files neither ask nor overwrite"
    local option
    for option in --force-confnew --force-confask; do
        configured_original
        must dpkg "$option" -i "${ours[@]}"
        unchanged
        daemon_is ours
    done
    must dpkg --force-confnew -i "${ours[@]}"
    unchanged

    begin "a configuration as the original's package has it stays as well"
    bare
    install "${original[@]}"
    remember
    install "${ours[@]}"
    unchanged
    daemon_is ours
    install "${original[@]}"
    unchanged
}

service_settings() {
    begin "a service that was switched off stays off"
    configured_original
    must systemctl disable fence_virtd.service
    ! enabled || fail "could not switch it off"
    install "${ours[@]}"
    ! enabled || fail "ours switched it on"
    unchanged

    begin "options in /etc/default, a configuration and a key elsewhere stay, and removed files stay away"
    configured_original
    mkdir /etc/cluster
    (umask 077 && head -c 4096 /dev/urandom >/etc/cluster/other.key)
    sed "s#$key#/etc/cluster/other.key#" $conf >/etc/cluster/other.conf
    echo 'FENCE_VIRTD_ARGS="-w -f /etc/cluster/other.conf"' >/etc/default/fence_virtd
    sha256sum /etc/cluster/* /etc/default/fence_virtd >/tmp/elsewhere
    rm $conf $key
    restart
    install "${ours[@]}"
    daemon_is ours
    must fence_xvm -k /etc/cluster/other.key -t 10 -H test -o status
    must sha256sum -c /tmp/elsewhere
    if [ -e $conf ] || [ -e $key ]; then fail "they were made again"; fi
    must dpkg --purge fence-virtd
    must sha256sum -c /tmp/elsewhere
}

refused() {
    begin "a configuration that ours refuses leaves the old daemon running"
    configured_original
    # Misspelt: the original lets everybody fence everything then.
    echo 'groups { gruop { uuid = "test"; ip = "127.0.0.1"; } }' >>$conf
    restart
    remember
    must_not dpkg -i "${ours[@]}"
    grep -q "the old one was left running" /tmp/said || fail "no reason given"
    grep -q "$conf:5" /tmp/said || fail "the line is not named"
    daemon_is c
    fenced
    unchanged
    sed -i s/gruop/group/ $conf
    must dpkg --configure fence-virtd
    daemon_is ours
    fenced

    begin "from there back to the original"
    configured_original
    echo 'groups { gruop { uuid = "test"; } }' >>$conf
    restart
    remember
    must_not dpkg -i "${ours[0]}"
    install "${original[0]}"
    unchanged
    daemon_is c
}

halfway() {
    begin "a package that was only unpacked is configured later"
    configured_original
    must dpkg --unpack "${ours[@]}"
    unchanged
    daemon_is c
    must dpkg --configure -a
    unchanged
    daemon_is ours
    fenced

    begin "or given up for the original"
    configured_original
    must dpkg --unpack "${ours[@]}"
    install "${original[@]}"
    unchanged
    daemon_is c
    fenced

    begin "an installation that is killed at any time is taken up again"
    configured_original
    local after
    for after in 0.05 0.2 0.4 0.8; do
        { quietly timeout -s KILL "$after" dpkg -i "${ours[@]}" || true; } 2>/dev/null
        unchanged
    done
    install "${ours[@]}"
    unchanged
    daemon_is ours
    fenced
}

removal() {
    begin "removing keeps configuration and key, for both"
    configured_original
    install "${ours[@]}"
    must dpkg --remove fence-virtd fence-virt
    unchanged
    [ -z "$(processes)" ] || fail "the daemon still runs"
    [ ! -e /usr/sbin/fence_virtd ] || fail "the program is still there"
    install "${original[@]}"
    unchanged
    daemon_is c
    must dpkg --remove fence-virtd
    install "${ours[@]}"
    unchanged
    daemon_is ours
    fenced

    begin "purging removes everything that the packages made"
    must dpkg --purge fence-virtd fence-virt
    local left
    left=$(ls -d /etc/*fence_virt* /etc/*/*fence_virt* /etc/systemd/system/*/fence_virtd* \
        /var/lib/systemd/deb-systemd-helper-enabled/fence_virtd* /etc/rc?.d/*fence_virtd \
        /usr/share/fence-virtd /lib/systemd/system/fence_virtd* 2>/dev/null || true)
    [ -z "$left" ] || fail "left behind: $left"
}

first_install() {
    begin "a first installation has a configuration and a key, and serves"
    bare
    install "${ours[@]}"
    [ "$(stat -c '%a %U %s' $key)" = "600 root 4096" ] || fail "the key is not as it should be"
    grep -q "\"$key\"" $conf || fail "the configuration does not name the key"
    must fence_virtd --test-config
    daemon_is ours
    sed -i 's#qemu:///system#test:///default#; s/^#\(\s*interface = \)"virbr0"/\1"lo"/' $conf
    restart
    remember
    fenced
    install "${ours[@]}"
    unchanged
    # The original's package brings a file of that name, so dpkg has to be told what to do with this one; its
    # daemon makes the mode 0600.
    chmod 600 $conf
    remember
    must dpkg --force-confold -i "${original[@]}"
    unchanged
    daemon_is c
    fenced

    begin "a key that the configuration does not name is not made"
    bare
    mkdir /etc/cluster
    (umask 077 && head -c 4096 /dev/urandom >/etc/cluster/fence_xvm.key)
    printf 'fence_virtd { listener = "tcp"; backend = "libvirt"; }\n' >$conf
    install "${ours[@]}"
    [ ! -e $key ] || fail "it was"
    daemon_is ours
}

# Where a start waits for ever, the installation does not.
waiting() {
    [ "$init" = systemd ] || return 0
    begin "a daemon that waits for its interface does not hold up dpkg"
    configured_original
    sed -i 's/"lo"/"later0"/' $conf
    remember
    local start=$SECONDS
    install "${ours[@]}"
    ((SECONDS - start < 60)) || fail "it took $((SECONDS - start)) s"
    grep -q "does not serve yet" /tmp/said || fail "nothing was said"
    unchanged
    [ "$(systemctl show -P ActiveState fence_virtd)" = activating ] || fail "the daemon does not wait"
    ip link add later0 type veth peer name later1
    ip link set later1 up
    ip link set later0 up multicast on
    daemon_is ours
    ip link del later0
}

mkdir -p /fence/ours/root /fence/c/root
for deb in "${ours[@]}"; do dpkg-deb -x "$deb" /fence/ours/root; done
for deb in "${original[@]}"; do dpkg-deb -x "$deb" /fence/c/root; done

groups=(swap_and_back service_settings refused removal waiting)
# What dpkg does with files is the same with either.
[ "$init" = systemd ] || groups+=(with_apt questions halfway first_install)
case=start
for group in "${groups[@]}"; do
    [[ $# = 0 || " $* " == *" $group "* ]] || continue
    start=$SECONDS
    "$group"
    echo "packages: $init: $group: $((SECONDS - start)) s"
done

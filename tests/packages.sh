#!/usr/bin/env bash
# Our packages take the place of the original's and give it back, on a machine that has been configured:
# with the daemon running, files changed by the administrator, packages half installed, removed, purged.
# Everything is done on a copy of this machine (an overlay that is thrown away) with processes and a
# network of its own; domains are those of libvirt's test driver. First services are started by init
# scripts there, then by a systemd.
#
#   tests/packages.sh [GROUP…]     only these groups of cases (tests/packages/cases.sh has their names)
#
# FENCE_DEBS, C_DEBS: directories with the packages; unset: target/deb and target/original, made here
# first, of the release build or of BUILD. Needs root.
set -euo pipefail
cd "$(dirname "$0")/.."

fail() {
    echo "packages: $*" >&2
    exit 1
}

# documented ROOT PREFIX: pages that installed files name are installed, and their links lead to something.
documented() {
    local docs=$1$2/share/doc/fence-virtd link page
    local -a pages=()
    # As troff has them: with "\-" for "-".
    mapfile -t pages < <(find "$1$2/share/man" "$1$2/lib" "$docs/examples" -type f ! -name '*.so*' -exec zcat -f {} + |
        sed 's/\\-/-/g' | grep -aoE '\b[a-z-]+\.md\b' | sort -u)
    ((${#pages[@]} > 2)) || fail "the manual names no pages: ${pages[*]}"
    for page in "${pages[@]}"; do
        [ -s "$docs/$page" ] || fail "$page is named, and not in $docs"
    done
    while IFS=: read -r page link; do
        case $link in
        /*) link=$1$link ;;
        *) link=$docs/$link ;;
        esac
        [ -e "$link" ] || fail "$page has a link to $link, which is not there"
    done < <(cd "$docs" && grep -oE '\]\([^):#]+' -- *.md | sed 's/](//' | grep -v ':https\?$' | sort -u)
    for page in examples/own-user.conf ../../../lib/sysusers.d/fence_virtd.conf; do
        grep -q "systemd.md in $2/share/doc/fence-virtd" "$docs/$page" || fail "$page names another directory"
    done
    page=$(zcat -f "$1$2/share/man/man5/fence_virt.conf.5"* | sed 's/\\-/-/g')
    [[ $page == *"$2/share/doc/fence-virtd/examples"* ]] || fail "the manual names another directory"
}

# What ours have of the documentation. dpkg may be told to leave it out, so it is not looked for in a copy.
in_packages() {
    local root
    root=$(mktemp -d)
    dpkg-deb -x "$FENCE_DEBS"/fence-virtd_*.deb "$root"
    documented "$root" /usr
    rm -r "$root"
    echo "packages: documentation: ok"
}

# make install and make uninstall, below DESTDIR.
from_source() {
    local root prefix
    root=$(mktemp -d)
    for prefix in /usr /opt/fence; do
        make -s install BUILD="$BUILD" PREFIX=$prefix DESTDIR="$root"
        "$root$prefix/sbin/fence_virt" -o metadata </dev/null | grep -q 'resource-agent name="fence_virt"' ||
            fail "fence_virt was not installed"
        grep -q "^ExecStart=$prefix/sbin/fence_virtd " "$root$prefix/lib/systemd/system/fence_virtd.service" ||
            fail "the unit starts another program"
        cmp -s etc/fence_virt.conf "$root/etc/fence_virt.conf" || fail "no configuration"
        documented "$root" $prefix
        echo "# changed" >>"$root/etc/fence_virt.conf"
        make -s install BUILD="$BUILD" PREFIX=$prefix DESTDIR="$root"
        [ "$(tail -n 1 "$root/etc/fence_virt.conf")" = "# changed" ] || fail "the configuration was replaced"
        make -s uninstall PREFIX=$prefix DESTDIR="$root"
        [ "$(find "$root" ! -type d)" = "$root/etc/fence_virt.conf" ] ||
            fail "left after uninstall: $(find "$root" ! -type d)"
        rm "$root/etc/fence_virt.conf"
    done
    rm -r "$root"
    echo "packages: make install, make uninstall: ok"
}

# What runs in a copy, and dies with its first process.
machine=
clean() {
    [ -z "$machine" ] || kill -KILL "$machine" 2>/dev/null || true
    [ -z "$machine" ] || wait "$machine" 2>/dev/null || true
    local tries=0
    while [ -d "$group" ] && ((tries++ < 50)); do
        find "$group" -depth -type d -exec rmdir {} + 2>/dev/null || true
        sleep 0.1
    done
    rm -rf "$work"
}

# systemd wants control groups of its own.
own_control_group() {
    local groups
    # Where this machine has its second hierarchy, or its only one.
    for groups in /sys/fs/cgroup/unified /sys/fs/cgroup; do
        [ "$(stat -f -c %T "$groups" 2>/dev/null)" = cgroup2fs ] && break
    done
    group=$groups/fence-packages.$$
    mkdir "$group" || fail "this machine does not let root make control groups: in a container, run it privileged"
}

# on_a_copy INIT [GROUP…]: runs cases on a copy where services are started by INIT, sysv or systemd.
on_a_copy() {
    work=$(mktemp -d)
    group=
    trap clean EXIT
    [ "$1" = sysv ] || own_control_group
    mkdir "$work/root" "$work/shared"
    touch "$work/shared/out"
    # start-stop-daemon looks at every process there is: it must see those of the copy only.
    # shellcheck disable=SC2016 # for the shell that is started
    bash -c 'if [ -n "$1" ]; then echo $$ >"$1/cgroup.procs"; fi && shift && exec unshare --mount --pid --net \
        --uts --ipc --cgroup --fork --kill-child --propagation private "$@"' \
        start "$group" tests/packages/machine.sh "$work" "$@" </dev/null &
    machine=$!
    tail --pid=$$ -f "$work/shared/out" &
    local follower=$!
    while [ ! -s "$work/shared/code" ] && kill -0 "$machine" 2>/dev/null; do sleep 0.1; done
    sleep 0.2
    kill "$follower"
    wait "$follower" 2>/dev/null || true
    [ "$(cat "$work/shared/code" 2>/dev/null)" = 0 ] || fail "failed with services started by $1"
    clean
    machine=
    trap - EXIT
}

((EUID == 0)) || fail "needs root, for an overlay and namespaces: run it with sudo"
for program in unshare pivot_root systemctl; do
    command -v $program >/dev/null || fail "$program is missing: run scripts/setup.sh test"
done
trap 'exit 130' INT TERM

if [ -z "${FENCE_DEBS:-}" ]; then
    # The same build as the bench's, so that it is not done twice.
    [ -n "${BUILD:-}" ] || cargo build --release --quiet -p fence-virtd -p fence-xvm -p fence-bench
    export BUILD=${BUILD:-${CARGO_TARGET_DIR:-target}/release}
    scripts/deb.sh
fi
[ -n "${C_DEBS:-}" ] || scripts/original-packages.sh
export FENCE_DEBS=${FENCE_DEBS:-target/deb} C_DEBS=${C_DEBS:-target/original}

[ -z "${BUILD:-}" ] || from_source
in_packages
on_a_copy sysv "$@"
on_a_copy systemd "$@"

# shellcheck shell=bash
# What interop.sh and hostile.sh share: conditions, building, and cleaning up after a run that was
# interrupted.

lab_needs() {
    command -v "$1" >/dev/null || {
        echo "$1 is missing: run scripts/setup.sh test, or install the package $2" >&2
        exit 1
    }
}

# Removes every namespace of this run and what runs in it.
lab_clean() {
    local namespace pids
    for namespace in $(ip netns list | awk -v prefix="${FENCE_LAB_PREFIX}x" 'index($1, prefix) == 1 { print $1 }'); do
        pids=$(ip netns pids "$namespace")
        # shellcheck disable=SC2086 # a list of numbers
        [ -z "$pids" ] || kill -KILL $pids 2>/dev/null || true
        ip netns del "$namespace" || true
    done
}

lab_run() {
    local suite=$1
    shift
    if [ "$(id -u)" != 0 ]; then
        echo "tests/$suite.sh makes network namespaces and needs root: run it with sudo" >&2
        exit 1
    fi
    lab_needs ip iproute2
    lab_needs libvirtd libvirt-daemon
    lab_needs virsh libvirt-clients
    if ! ip netns add "fence$$probe" 2>/dev/null; then
        echo "this machine does not let root make network namespaces: in a container, run it privileged" >&2
        exit 1
    fi
    ip netns del "fence$$probe"

    local target=${CARGO_TARGET_DIR:-target}
    cargo build --quiet -p "${LAB_PACKAGE:-fence-lab}"
    if [ "${FENCE_HOST:-}" != c ] && [ -z "${FENCE_VIRTD:-}" ]; then
        cargo build --quiet -p fence-virtd
    fi
    if [ "${FENCE_AGENT:-}" != c ] && [ -z "${FENCE_XVM:-}" ]; then
        cargo build --quiet -p fence-xvm
    fi
    export FENCE_VIRTD=${FENCE_VIRTD:-$target/debug/fence_virtd}
    export FENCE_XVM=${FENCE_XVM:-$target/debug/fence_xvm}

    export FENCE_LAB_PREFIX="fence$$"
    trap lab_clean EXIT
    trap 'exit 130' INT TERM
    "$target/debug/$suite" "$@"
}

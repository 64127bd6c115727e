#!/usr/bin/env bash
# All tests, in the order in which a failure says most. Needs root for network namespaces.
set -euo pipefail
cd "$(dirname "$0")/.."

if ((EUID != 0)); then
    echo "test: the network namespaces of the interop suite need root: sudo env \"PATH=\$PATH\" \"HOME=\$HOME\" make test" >&2
    echo "test: without root, 'make check' runs the part that needs none" >&2
    exit 1
fi

passed=0
step() {
    echo "=== $*"
    local start=$SECONDS
    "$@"
    passed=$((passed + 1))
    echo "=== $1: $((SECONDS - start)) s"
}

step scripts/check.sh
step scripts/demo.sh
step scripts/static-agent.sh
step tests/static-agent.sh
step tests/systemd.sh
step tests/systemd-unit.sh
step tests/documents.sh
step tests/interop.sh
step tests/hostile.sh
step tests/doctor.sh
step tests/guests.sh --quick
step tests/corosync.sh
step tests/cluster.sh --quick
step tests/pacemaker.sh --quick
step tests/docs.sh
# Both of the release build.
step tests/packages.sh
step tests/bench.sh --quick
echo "$passed passed, 0 failed"

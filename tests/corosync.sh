#!/usr/bin/env bash
# The corosync suite: nodes with a corosync of their own, and our daemons in their group on libvirt's test
# driver: membership, quorum, floods, rubbish, corosync that dies, hangs and comes back, signals.
#
#   tests/corosync.sh [WORD…]      only cases whose name contains a word
#
# FENCE_VIRTD, FENCE_XVM: our programs; unset: built here.
set -euo pipefail
cd "$(dirname "$0")/.."
# shellcheck disable=SC1091 # checked by itself
. tests/lab.sh
lab_needs corosync corosync
lab_needs corosync-cfgtool corosync
export FENCE_HOST=ours FENCE_AGENT=ours
LAB_PACKAGE=fence-corosync-lab lab_run group "$@"

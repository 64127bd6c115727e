#!/usr/bin/env bash
# The cluster suite: three physical hosts as namespaces, each with corosync, libvirtd, QEMU guests and
# fence_virtd, and what is answered when a part of that fails. Prints a table.
#
#   tests/cluster.sh [--quick] [--side c|ours] [--agent c|ours] [--jobs N] [--rounds N] [--markdown FILE] [WORD…]
#
# --quick: a representative part; --side: whose daemons are tested (ours); --agent: whose agent asks
# (ours); --jobs: clusters at a time (2); --rounds: how often (1); --markdown: also write the table
# there, as docs/failure-table.md; words: only cases whose name contains
# one of them.
# FENCE_GUEST_KERNEL: an unpacked kernel package; unset: fetched once by scripts/guest-kernel.sh.
# FENCE_VIRTD, FENCE_XVM: our programs; unset: built here.
# C_FENCE_VIRTD, C_FENCE_XVM, C_FENCE_VIRT: the C ones; unset: /usr/sbin/fence_virtd and so on.
set -euo pipefail
cd "$(dirname "$0")/.."
# shellcheck disable=SC1091 # checked by itself
. tests/lab.sh
lab_needs corosync corosync
lab_needs qemu-system-x86_64 qemu-system-x86
export FENCE_GUEST_KERNEL=${FENCE_GUEST_KERNEL:-${CARGO_TARGET_DIR:-target}/guests/kernel}
scripts/guest-kernel.sh
LAB_PACKAGE=fence-cluster-lab lab_run cluster "$@"

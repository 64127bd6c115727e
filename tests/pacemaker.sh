#!/usr/bin/env bash
# The pacemaker suite: clusters of guests with corosync and pacemaker, which fence each other by our agent
# and our daemon on their host: metadata, monitor, host checks, off, on, reboot, hung nodes, failing fences.
#
#   tests/pacemaker.sh [--quick] [WORD…]      only cases whose name contains a word
#
# --quick: without the emulated guests.
# FENCE_VIRTD, FENCE_XVM: our programs; unset: built here.
# FENCE_GUEST_KERNEL: an unpacked kernel package; unset: fetched by scripts/guest-kernel.sh.
set -euo pipefail
cd "$(dirname "$0")/.."
# shellcheck disable=SC1091 # checked by itself
. tests/lab.sh
lab_needs corosync corosync
lab_needs pacemakerd pacemaker
lab_needs stonith_admin pacemaker
lab_needs crm_resource pacemaker-cli-utils
lab_needs pcs pcs
lab_needs qemu-system-x86_64 qemu-system-x86
lab_needs busybox busybox-static
[ -n "${FENCE_GUEST_KERNEL:-}" ] || scripts/guest-kernel.sh
export FENCE_HOST=ours FENCE_AGENT=ours
LAB_PACKAGE=fence-pacemaker-lab lab_run pacemaker "$@"

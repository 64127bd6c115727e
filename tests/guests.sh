#!/usr/bin/env bash
# Real guests that fence each other: emulated by QEMU under a private libvirtd.
#
#   tests/guests.sh [--quick] [WORD…]      only scenes whose name contains a word
#
# FENCE_HOST, FENCE_AGENT: ours or c; unset: both, in all pairings.
# FENCE_VIRTD, FENCE_XVM: our programs (the agent must be static); unset: built here.
# C_FENCE_VIRTD, C_FENCE_XVM, C_FENCE_VIRT: the C ones; unset: /usr/sbin/fence_virtd and so on.
# FENCE_GUEST_KERNEL: an unpacked kernel package; unset: fetched by scripts/guest-kernel.sh.
set -euo pipefail
cd "$(dirname "$0")/.."
# shellcheck disable=SC1091 # checked by itself
. tests/lab.sh
lab_needs qemu-system-x86_64 qemu-system-x86
lab_needs busybox busybox-static
[ -n "${FENCE_GUEST_KERNEL:-}" ] || scripts/guest-kernel.sh
if [ -z "${FENCE_XVM:-}" ]; then
    scripts/static-agent.sh
    export FENCE_XVM=target/static/fence_xvm
fi
lab_run guests "$@"

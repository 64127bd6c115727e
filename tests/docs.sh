#!/usr/bin/env bash
# The documentation: links, and every command of README.md and docs/, in the order of each page, on a scratch
# host with libvirt and three guests that are a pacemaker cluster. docs/testing.md says how blocks are marked.
#
#   tests/docs.sh [WORD…]      only pages whose name contains a word
#
# FENCE_VIRTD, FENCE_XVM: our programs; unset: built here.
set -euo pipefail
cd "$(dirname "$0")/.."
# shellcheck disable=SC1091 # checked by itself
. tests/lab.sh
lab_needs corosync corosync
lab_needs pacemakerd pacemaker
lab_needs crm_resource pacemaker-cli-utils
lab_needs pcs pcs
lab_needs qemu-system-x86_64 qemu-system-x86
export FENCE_HOST=ours FENCE_AGENT=ours
LAB_PACKAGE=fence-pacemaker-lab lab_run pacemaker --docs "$@"

#!/usr/bin/env bash
# The interop suite: daemon and agent, each ours or the packaged C one, in network namespaces.
#
#   tests/interop.sh [WORD…]      only groups whose name contains a word
#
# FENCE_HOST, FENCE_AGENT: ours or c; unset: both, in all pairings.
# FENCE_VIRTD, FENCE_XVM: our programs; unset: built here.
# C_FENCE_VIRTD, C_FENCE_XVM, C_FENCE_VIRT: the C ones; unset: /usr/sbin/fence_virtd and so on.
set -euo pipefail
cd "$(dirname "$0")/.."
# shellcheck disable=SC1091 # checked by itself
. tests/lab.sh
lab_run interop "$@"

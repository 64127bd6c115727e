#!/usr/bin/env bash
# The doctor suite: the wizard's files, and every check of fence_virtd --check and fence_xvm --check, red and green.
#
#   tests/doctor.sh [WORD…]      only cases whose name contains a word
#
# FENCE_VIRTD, FENCE_XVM: our programs; unset: built here.
# C_FENCE_VIRTD: the C daemon; unset: /usr/sbin/fence_virtd.
set -euo pipefail
cd "$(dirname "$0")/.."
# shellcheck disable=SC1091 # checked by itself
. tests/lab.sh
lab_needs nft nftables
lab_needs iptables iptables
export FENCE_HOST=ours FENCE_AGENT=ours
lab_run doctor "$@"

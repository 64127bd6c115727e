#!/usr/bin/env bash
# The hostile suite: floods, stalls, replays, reflections, dying hypervisors, signals; ours alone.
#
#   tests/hostile.sh [WORD…]      only cases whose name contains a word
#
# FENCE_VIRTD, FENCE_XVM: our programs; unset: built here.
set -euo pipefail
cd "$(dirname "$0")/.."
# shellcheck disable=SC1091 # checked by itself
. tests/lab.sh
export FENCE_HOST=ours FENCE_AGENT=ours
lab_run hostile "$@"

#!/usr/bin/env bash
# The model checker with its larger bounds, and more random walks: hours, and perhaps more than 24 GB of memory. `cargo test`
# has the smaller ones.
#
#   scripts/model.sh [WORD…]     only plans whose test's name contains a word
#
# FENCE_WALKS=N walks more, FENCE_SEED=N from another seed on. docs/cluster.md says what is modelled.
set -euo pipefail
cd "$(dirname "$0")/.."

export FENCE_MODEL=deep FENCE_WALKS="${FENCE_WALKS:-100000}"
# One plan after the other: each explores with all cores.
cargo test --release --package fence-cluster --test model -- --nocapture --test-threads 1 "$@"

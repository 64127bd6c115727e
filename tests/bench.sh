#!/bin/sh
# Measures our daemon and agent, the packaged C ones and a bare server in one run, prints the table
# and writes docs/benchmarks.md. The multicast rows need root, for network namespaces.
#
# usage: tests/bench.sh [--quick] [--only ROW]... [--flood-rate N]
#   --quick  under a minute: checks that the harness works and that ours makes no errors; asserts
#            no times and writes nothing
# environment: C_FENCE_VIRTD, C_FENCE_VIRT (default: in /usr/sbin); without them, no C columns
set -eu

cd "$(dirname "$0")/.."
cargo build --release --quiet -p fence-virtd -p fence-xvm -p fence-bench
bench=${CARGO_TARGET_DIR:-target}/release/fence-bench

for option in "$@"; do
	case $option in
	--quick | --only | --only=* | --flood-rate | --flood-rate=* | -h | --help)
		# A part, or other conditions: not the page.
		exec "$bench" "$@"
		;;
	esac
done
"$bench" --markdown docs/benchmarks.md "$@"
if [ -x "${C_FENCE_VIRTD:-/usr/sbin/fence_virtd}" ]; then
	tests/bench-libvirtd.sh | tee -a docs/benchmarks.md
fi
if [ "$(id -u)" = 0 ]; then
	tests/bench-cluster.sh | tee -a docs/benchmarks.md
fi

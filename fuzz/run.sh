#!/bin/sh
# Fuzzes one target for a while, with stable Rust and without cargo-fuzz, and keeps the inputs that
# reach something new in corpus/TARGET. With cargo-fuzz and a nightly compiler `cargo fuzz run TARGET`
# does the same.
#
# usage: fuzz/run.sh TARGET SECONDS      fuzz
#        fuzz/run.sh TARGET minimize     keep the fewest inputs that reach the same
set -eu

usage() {
    echo "usage: fuzz/run.sh TARGET SECONDS|minimize" >&2
    echo "targets: $(cd "$here/fuzz_targets" && printf '%s ' *.rs | sed 's/\.rs//g')" >&2
    exit 2
}

here=$(cd "$(dirname "$0")" && pwd)
[ $# -eq 2 ] || usage
target=$1
what=$2
[ -f "$here/fuzz_targets/$target.rs" ] || usage

triple=$(rustc -vV | sed -n 's/^host: //p')
corpus=$here/corpus/$target
artifacts=$here/artifacts/$target
mkdir -p "$corpus" "$artifacts"

# What cargo-fuzz would pass, less the sanitizer, which needs a nightly compiler.
RUSTFLAGS="-Cpasses=sancov-module -Cllvm-args=-sanitizer-coverage-level=4 \
-Cllvm-args=-sanitizer-coverage-inline-8bit-counters -Cllvm-args=-sanitizer-coverage-pc-table \
-Cllvm-args=-sanitizer-coverage-trace-compares --cfg fuzzing"
export RUSTFLAGS

cd "$here"
cargo build --quiet --release --target "$triple" --bin "$target"
program=$here/target/$triple/release/$target

case $what in
minimize)
    smaller=$(mktemp -d)
    trap 'rm -rf "$smaller"' EXIT
    "$program" -set_cover_merge=1 -use_counters=0 "$smaller" "$corpus" >"$artifacts/minimize.log" 2>&1 || {
        cat "$artifacts/minimize.log" >&2
        exit 1
    }
    rm -f "$corpus"/*
    cp "$smaller"/* "$corpus/"
    echo "$target: $(find "$corpus" -type f | wc -l) inputs are left"
    ;;
*[!0-9]* | '') usage ;;
*)
    exec "$program" -max_total_time="$what" -max_len=1024 -rss_limit_mb=1024 -timeout=10 \
        -print_final_stats=1 -artifact_prefix="$artifacts/" "$corpus"
    ;;
esac

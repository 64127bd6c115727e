#!/usr/bin/env bash
# The quick part: formatting, lints, unit, property and protocol tests. No root, no namespaces.
set -euo pipefail
cd "$(dirname "$0")/.."

cargo fmt --all --check
cargo clippy --workspace --all-targets --quiet -- -D warnings
if command -v shellcheck >/dev/null; then
    shellcheck .ci/run scripts/*.sh tests/*.sh tests/*/*.sh tests/pacemaker/stand-ins/* fuzz/*.sh \
        debian/*.postinst debian/*.prerm debian/*.postrm
else
    echo "check: shellcheck is missing, scripts are not checked (apt-get install shellcheck)" >&2
fi
cargo test --workspace --quiet

#!/usr/bin/env bash
# The quick part: formatting, lints, unit, property and protocol tests. No root, no namespaces.
set -euo pipefail
cd "$(dirname "$0")/.."

cargo fmt --all --check
cargo clippy --workspace --all-targets --quiet -- -D warnings
if command -v shellcheck >/dev/null; then
<<<<<<< HEAD
    shellcheck .ci/run scripts/*.sh tests/*.sh tests/*/*.sh fuzz/*.sh \
        debian/*.postinst debian/*.prerm debian/*.postrm
=======
    shellcheck .ci/run scripts/*.sh tests/*.sh tests/cluster/*.sh tests/lab/*.sh tests/pacemaker/*.sh tests/pacemaker/stand-ins/* fuzz/*.sh
>>>>>>> 879bff6 (Doc: two doors, pages on keys, groups, pacemaker and testing, and a test that runs every command in them)
else
    echo "check: shellcheck is missing, scripts are not checked (apt-get install shellcheck)" >&2
fi
cargo test --workspace --quiet

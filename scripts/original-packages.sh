#!/usr/bin/env bash
# Fetches the original's packages, which tests/packages.sh installs somewhere apart, to target/original/.
# Done once; newer ones are fetched after `rm -r target/original`.
set -euo pipefail
cd "$(dirname "$0")/.."
# shellcheck disable=SC1091 # checked by itself
. scripts/apt-fetch.sh

out=target/original
[ ! -e "$out/complete" ] || exit 0

# Ours have an epoch.
packages() {
    local version
    version=$(apt-cache madison fence-virtd 2>/dev/null | awk '$3 !~ /:/ { print $3; exit }')
    [ -z "$version" ] || printf '%s\n' "fence-virt=$version" "fence-virtd=$version"
}

fetch packages "fence-virt and fence-virtd"
rm -rf "$out"
mkdir -p "$out"
mv "$work"/*.deb "$out/"
touch "$out/complete"
echo "original-packages: $(cd "$out" && echo *.deb) in $out"

#!/usr/bin/env bash
# Fetches the original's packages, which tests/packages.sh installs somewhere apart, to target/original/.
# Done once; newer ones are fetched after `rm -r target/original`.
set -euo pipefail
cd "$(dirname "$0")/.."

out=target/original
[ ! -e "$out/complete" ] || exit 0
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
chmod 755 "$work" # apt downloads as a user of its own

# Ours have an epoch.
download() {
    local version
    version=$(apt-cache madison fence-virtd 2>/dev/null | awk '$3 !~ /:/ { print $3; exit }')
    [ -n "$version" ] &&
        (cd "$work" && apt-get download -qq "fence-virt=$version" "fence-virtd=$version" 2>"$work/said")
}

# Lists that are missing, or older than what the archive still has.
if ! download; then
    sudo=()
    ((EUID == 0)) || sudo=(sudo)
    "${sudo[@]}" apt-get update -qq
    download || {
        cat "$work/said" >&2
        echo "original-packages: fence-virt and fence-virtd cannot be had from this machine's apt sources" >&2
        exit 1
    }
fi
rm -rf "$out"
mkdir -p "$out"
mv "$work"/*.deb "$out/"
touch "$out/complete"
echo "original-packages: $(cd "$out" && echo *.deb) in $out"

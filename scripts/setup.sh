#!/usr/bin/env bash
# Installs what is missing on a Debian 12: setup.sh build (to build and run the demo) or
# setup.sh test (also what the tests compare with). Touches nothing that is there already.
set -euo pipefail

build=(gcc pkg-config libvirt-dev)
test=(
    fence-virt fence-virtd               # the original: the reference peers
    libvirt-daemon-system libvirt-clients # a libvirtd to stop and restart
    iproute2 iptables                     # network namespaces
    libxml2-utils                         # xmllint: the metadata's schema
    busybox-static cpio                   # an empty root for the static agent
    shellcheck procps python3
)

case "${1:-}" in
    build) wanted=("${build[@]}") ;;
    test) wanted=("${build[@]}" "${test[@]}") ;;
    *) echo "usage: scripts/setup.sh build|test" >&2; exit 2 ;;
esac

installed() { dpkg-query -W -f '${db:Status-Status}' "$1" 2>/dev/null | grep -qx installed; }

missing=()
if command -v dpkg-query >/dev/null; then
    for package in "${wanted[@]}"; do
        installed "$package" || missing+=("$package")
    done
else
    echo "setup: this is not Debian; these must be there already: ${wanted[*]}" >&2
fi

if ((${#missing[@]})); then
    sudo=()
    if ((EUID != 0)); then
        if ! command -v sudo >/dev/null; then
            echo "setup: missing packages; as root: apt-get install ${missing[*]}" >&2
            exit 1
        fi
        sudo=(sudo)
    fi
    echo "setup: installing ${missing[*]}"
    "${sudo[@]}" apt-get update -qq
    "${sudo[@]}" env DEBIAN_FRONTEND=noninteractive \
        apt-get install -y -qq --no-install-recommends "${missing[@]}" >/dev/null
fi

if ! command -v cargo >/dev/null && [ -x "$HOME/.cargo/bin/cargo" ]; then
    echo "setup: add $HOME/.cargo/bin to PATH" >&2
    exit 1
fi
if ! command -v cargo >/dev/null; then
    echo "setup: cargo is missing: install Rust 1.91 or newer with rustup (https://rustup.rs)" >&2
    exit 1
fi

#!/usr/bin/env bash
# Installs what is missing on a Debian 12: setup.sh build (to build and run the demo), setup.sh check
# (also what make check needs), setup.sh deb (to make packages) or setup.sh test (what the whole suite needs and compares
# with). Touches nothing that is there already. Rust is not installed, only looked for.
set -euo pipefail
cd "$(dirname "$0")/.."

build=(
    gcc libc6-dev pkg-config libvirt-dev
    libcpg-dev libquorum-dev libcmap-dev libcfg-dev libvotequorum-dev libcorosync-common-dev
)
check=(
    libvirt-daemon # a libvirtd to stop and kill
    iproute2       # ip, in network namespaces
    libxml2-utils  # xmllint: the metadata's schema
    shellcheck
)
deb=(
    debhelper
)
test=(
    man-db mandoc zsh fish                # manual pages and completions are tried
    fence-virt fence-virtd                # the original: the reference peers
    libvirt-daemon-system libvirt-clients # a libvirtd that runs as root; virsh
    nftables iptables                     # firewalls that --check looks at
    systemd                               # systemd-analyze: checks the unit file
    qemu-system-x86 busybox-static        # guests, emulated: no KVM needed
    corosync                              # the cluster of three hosts
    pacemaker pacemaker-cli-utils pcs     # fences one of them; and clusters of guests
    resource-agents                       # the service of such a cluster
)

case "${1:-}" in
    build) wanted=("${build[@]}") ;;
    check) wanted=("${build[@]}" "${check[@]}") ;;
    deb) wanted=("${build[@]}" "${deb[@]}") ;;
    test) wanted=("${build[@]}" "${check[@]}" "${deb[@]}" "${test[@]}") ;;
    *) echo "usage: scripts/setup.sh build|check|deb|test" >&2; exit 2 ;;
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
    # A qemu-utils from elsewhere (backports) can be in the way of the release's qemu-system-x86: then
    # the release's takes its place. Anything else that is in the way is reported below.
    extra=()
    if [[ " ${missing[*]} " == *" qemu-system-x86 "* ]] && installed qemu-utils; then
        plan=$(apt-get install -s -qq --no-install-recommends "${missing[@]}" 2>/dev/null) || plan="Remv"
        if grep -q ^Remv <<<"$plan"; then
            # shellcheck disable=SC1091 # every Debian has it
            extra=(--allow-downgrades "qemu-utils/$(. /etc/os-release && echo "$VERSION_CODENAME")")
        fi
    fi
    # None of these is wanted as a service of this machine: the tests start their own.
    policy=/usr/sbin/policy-rc.d
    if [ ! -e $policy ]; then
        printf '#!/bin/sh\nexit 101\n' | "${sudo[@]}" tee $policy >/dev/null
        "${sudo[@]}" chmod 755 $policy
        # shellcheck disable=SC2064 # as it is now
        trap "${sudo[*]} rm -f $policy" EXIT
    fi
    "${sudo[@]}" env DEBIAN_FRONTEND=noninteractive \
        apt-get install -y -qq --no-install-recommends "${missing[@]}" "${extra[@]}" >/dev/null
fi

# What the guests boot, and the original's packages; unpacked or installed elsewhere, not here.
if [ "$1" = test ]; then
    scripts/guest-kernel.sh
    scripts/original-packages.sh
fi

needed=$(sed -n 's/^rust-version = "\(.*\)"$/\1/p' Cargo.toml)
if ! command -v cargo >/dev/null; then
    if [ -x "$HOME/.cargo/bin/cargo" ]; then
        echo "setup: add $HOME/.cargo/bin to PATH" >&2
    else
        echo "setup: cargo is missing: install Rust $needed or newer with rustup (https://rustup.rs)" >&2
    fi
    exit 1
fi
found=$(cargo --version | cut -d ' ' -f 2)
if ! printf '%s\n' "$needed" "$found" | sort -CV; then
    echo "setup: $(command -v cargo) is version $found, and $needed or newer is needed: install it with" \
        "rustup (https://rustup.rs), and put $HOME/.cargo/bin first in PATH" >&2
    exit 1
fi

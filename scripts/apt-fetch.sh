# shellcheck shell=bash
# Sourced by scripts that fetch packages from this machine's apt sources without installing them.

# fetch CHOOSE WHAT: downloads the packages that the function CHOOSE prints (a line each, NAME or NAME=VERSION; none if
# apt does not know them) to the directory $work, which goes with the script. WHAT is what the complaint names.
fetch() {
    work=$(mktemp -d)
    trap 'rm -rf "$work"' EXIT
    chmod 755 "$work" # apt downloads as a user of its own
    : >"$work/said"
    download "$1" && return
    # Lists that are missing, or older than what the archive still has.
    local sudo=() name=${0##*/}
    ((EUID == 0)) || sudo=(sudo)
    "${sudo[@]}" apt-get update -qq
    download "$1" && return
    cat "$work/said" >&2
    echo "${name%.sh}: $2 cannot be had from this machine's apt sources" >&2
    exit 1
}

download() {
    local -a packages
    mapfile -t packages < <("$1")
    ((${#packages[@]} > 0)) && (cd "$work" && apt-get download -qq "${packages[@]}" 2>said)
}

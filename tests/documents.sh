#!/usr/bin/env bash
# The generated manual pages have no mistakes that groff or mandoc know of, and the completions complete
# in the shells they are for. (That they are what the tables make is tested by crates/fence-docs.)
set -euo pipefail
cd "$(dirname "$0")/.."

fail() {
    echo "documents: $*" >&2
    exit 1
}
for program in man mandoc bash zsh fish; do
    command -v "$program" >/dev/null ||
        fail "$program is missing: run scripts/setup.sh test, or install the package ${program/%man/man-db}"
done

for page in man/*; do
    # Pages have no date: it would change them without a reason.
    complaints=$(mandoc -T lint -W warning "$page" | grep -v 'missing date' || true)
    complaints+=$(LC_ALL=C.UTF-8 MANROFFSEQ='' man --warnings -E UTF-8 -l -Tutf8 -Z "$page" 2>&1 >/dev/null)
    [ -z "$complaints" ] || fail "$complaints"
    echo "ok: $page"
done

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
touch "$work/some.key"

# What the shells offer for a line, a word a line.
in_bash() {
    # shellcheck disable=SC2016 # for the shell that is started
    bash --norc --noprofile -c '
        cd "$1" && . "$2/completions/bash/$3"
        spec=$(complete -p "$3") && function=${spec#*-F } && function=${function%% *}
        COMP_LINE="${*:3}" COMP_WORDS=("${@:3}") COMP_CWORD=$(($# - 3))
        compopt() { :; } # there is no command line
        "$function" "$3" "${COMP_WORDS[COMP_CWORD]}" "${COMP_WORDS[COMP_CWORD - 1]}"
        printf "%s\n" "${COMPREPLY[@]}"
    ' bash "$work" "$PWD" "$@"
}
in_fish() {
    # shellcheck disable=SC2016
    XDG_CONFIG_HOME=$work fish --no-config -c '
        cd $argv[1]; source $argv[2]/completions/fish/$argv[3].fish; complete -C (string join " " -- $argv[3..-1])
    ' "$work" "$PWD" "$@" | cut -f 1
}
in_zsh() {
    # Completion wants a line editor on a terminal, which zpty makes.
    # shellcheck disable=SC2016
    zsh -f -c '
        zmodload zsh/zpty
        zpty -b terminal zsh -f -i
        type() { zpty -w terminal "$1" }
        type "PS1=; cd $1; fpath=($2/completions/zsh \$fpath); autoload -U compinit && compinit -u -D"
        type "zstyle \":completion:*\" list-colors; LISTMAX=0; COLUMNS=200; LINES=200; bindkey \"^I\" list-choices"
        type "print BEGIN-\$((1))"
        zpty -n -w terminal "${*:3}"$'"'\t'"'
        all=
        # What is wanted comes, or nothing for long.
        for ((tries = 0; tries < 100; tries++)); do
            while zpty -r -t terminal text; do all+=$text; tries=0; done
            if [[ ${all#*BEGIN-1} = *${WANTED}* ]] && ((tries > 2)) break
            sleep 0.1
        done
        zpty -d terminal
        print -r -- "${all#*BEGIN-1}"
    ' zsh "$work" "$PWD" "$@" 2>&1 | sed 's/\x1b\[[0-9;?]*[a-zA-Z]//g' | tr -s '[:space:]\r' '\n'
}

# offers WORD LINE...: all shells offer it.
offers() {
    local word=$1 shell
    export WANTED=$word
    shift
    for shell in bash fish zsh; do
        "in_$shell" "$@" >"$work/offered" 2>"$work/stderr" || true
        [ ! -s "$work/stderr" ] || fail "$shell complains: $(cat "$work/stderr")"
        grep -qx -e "$word" "$work/offered" ||
            fail "$shell does not offer $word for '$*', but: $(head -c 2000 "$work/offered")"
    done
    echo "ok: $* -> $word"
}

offers --config fence_virtd --co
offers --pid-file fence_virtd --pi
offers some.key fence_virtd -f some
offers --key_file fence_xvm --key
offers some.key fence_xvm -k some
offers reboot fence_xvm -o re
offers validate-all fence_virt -o val
offers sha512 fence_virt --hash sha5
offers --multicast_address fence_xvm --mul
offers --serial_device fence_virt --ser

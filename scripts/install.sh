#!/bin/sh
# Copies what `make release` has built, and what belongs to it, to where it is found; or removes it
# again. The one list of files, for `make install` and for the packages.
#
# usage: scripts/install.sh install|uninstall
# environment:
#   PREFIX   /usr/local without it. Pacemaker looks for agents in /usr/sbin: PREFIX=/usr
#   DESTDIR  goes before every path, for packagers
#   BUILD    where the programs are: target/release
#   UNITDIR, ZSHDIR, DOCDIR  where distributions differ
# The configuration is /etc/fence_virt.conf whatever PREFIX says. One that is there is left alone, and
# `uninstall` leaves it and the key.
set -eu
cd "$(dirname "$0")/.."

action=${1:-}
PREFIX=${PREFIX:-/usr/local}
DESTDIR=${DESTDIR:-}
BUILD=${BUILD:-target/release}
UNITDIR=${UNITDIR:-$PREFIX/lib/systemd/system}
ZSHDIR=${ZSHDIR:-$PREFIX/share/zsh/site-functions}
DOCDIR=${DOCDIR:-$PREFIX/share/doc/fence-virtd}
sbin=$PREFIX/sbin
man=$PREFIX/share/man

# put MODE FILE PATH
put() {
    if [ "$action" = uninstall ]; then
        rm -f "$DESTDIR$3"
    else
        # In one step, so that a program that runs is not in the way.
        install -D -m "$1" "$2" "$DESTDIR$3.new"
        mv -f "$DESTDIR$3.new" "$DESTDIR$3"
    fi
}

# The file with the places of programs and documentation in it. Manual pages have "\-" for "-".
put_placed() {
    placed=$(mktemp)
    troff_docdir=$(echo "$DOCDIR" | sed 's#-#\\\\-#g')
    sed -e "s#/usr/sbin/fence_virtd#$sbin/fence_virtd#g" -e "s#/usr/share/doc/fence-virtd#$DOCDIR#g" \
        -e "s#/usr/share/doc/fence\\\\-virtd#$troff_docdir#g" "$1" >"$placed"
    put 644 "$placed" "$2"
    rm -f "$placed"
}

# A page whose links lead to what is installed. What is not has only a name.
put_page() {
    linked=$(mktemp)
    sed -E -e 's#\]\(\.\./(etc|systemd/examples)/#](examples/#g' \
        -e "s#\]\(\.\./systemd/([^)/]*\.service)\)#]($UNITDIR/\1)#g" \
        -e "s#\]\(\.\./systemd/(sysusers\.d/[^)]*)\)#]($PREFIX/lib/\1)#g" \
        -e 's#\[([^]]*)\]\(\.\./[^)]*\)#\1 (in the source)#g' "$1" >"$linked"
    put_placed "$linked" "$2"
    rm -f "$linked"
}

case $action in
install)
    for program in fence_virtd fence_xvm; do
        if [ ! -x "$BUILD/$program" ]; then
            echo "install: $BUILD/$program is missing: run 'make release' first (not as root), or set BUILD" >&2
            exit 1
        fi
    done
    ;;
uninstall) ;;
*)
    echo "usage: scripts/install.sh install|uninstall" >&2
    exit 2
    ;;
esac

put 755 "$BUILD/fence_virtd" "$sbin/fence_virtd"
put 755 "$BUILD/fence_xvm" "$sbin/fence_xvm"
if [ "$action" = install ]; then
    ln -sfn fence_xvm "$DESTDIR$sbin/fence_virt"
else
    rm -f "$DESTDIR$sbin/fence_virt"
fi

for page in man/*; do
    put_placed "$page" "$man/man${page##*.}/${page##*/}"
done
for program in fence_virtd fence_xvm fence_virt; do
    put 644 "completions/bash/$program" "$PREFIX/share/bash-completion/completions/$program"
    put 644 "completions/zsh/_$program" "$ZSHDIR/_$program"
    put 644 "completions/fish/$program.fish" "$PREFIX/share/fish/vendor_completions.d/$program.fish"
done

put_placed systemd/fence_virtd.service "$UNITDIR/fence_virtd.service"
put_placed systemd/sysusers.d/fence_virtd.conf "$PREFIX/lib/sysusers.d/fence_virtd.conf"
put 644 systemd/tmpfiles.d/fence_virtd.conf "$PREFIX/lib/tmpfiles.d/fence_virtd.conf"
for example in etc/fence_virt.conf etc/fence_virt.toml systemd/examples/*; do
    put_placed "$example" "$DOCDIR/examples/${example##*/}"
done
for page in docs/*.md; do
    put_page "$page" "$DOCDIR/${page##*/}"
done

if [ "$action" = install ] && [ ! -e "$DESTDIR/etc/fence_virt.conf" ] && [ ! -L "$DESTDIR/etc/fence_virt.conf" ]; then
    install -D -m 644 etc/fence_virt.conf "$DESTDIR/etc/fence_virt.conf"
fi

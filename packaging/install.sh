#!/bin/sh
# Installs frosthead with ONNX Runtime's library: bin/, lib/frosthead/ and share/ below a prefix. Lies in the
# release's archive.
# usage: install.sh [--prefix FOLDER]      by default /usr/local
set -eu

prefix=/usr/local
case "${1:-}" in
  '') ;;
  --prefix) prefix=${2:-} ;;
  --prefix=*) prefix=${1#--prefix=} ;;
  *) echo "install: unknown argument $1; usage: install.sh [--prefix FOLDER]" >&2; exit 2 ;;
esac
[ -n "$prefix" ] || { echo "install: --prefix needs a folder" >&2; exit 2; }

here=$(cd "$(dirname "$0")" && pwd)
processor=$(cat "$here/share/doc/frosthead/processor")
if [ "$(uname -m)" != "$processor" ]; then
  echo "install: this archive is for $processor, this machine is $(uname -m): take the other archive" >&2
  exit 1
fi
for folder in bin lib share; do
  (cd "$here" && find "$folder" -type f) | while read -r file; do
    mode=644
    [ "$folder" != bin ] || mode=755
    mkdir -p "$prefix/$(dirname "$file")"
    # Beside it and then in its place: a program that runs keeps what it has mapped.
    cp "$here/$file" "$prefix/$file.new"
    chmod "$mode" "$prefix/$file.new"
    mv "$prefix/$file.new" "$prefix/$file"
  done
done
"$prefix/bin/frosthead" --version

#!/usr/bin/env bash
# Makes what a release consists of, for x86-64 and AArch64: archives with install.sh, Debian packages, wheels,
# SHA256SUMS and its minisign signature. The same commit gives the same bytes. The last lines on standard
# output are the files.
# usage: release.sh [--key KEY] [--out FOLDER] [--no-build]
#   --key KEY      sign SHA256SUMS with this minisign secret key; without it nothing is signed
#   --out FOLDER   where they appear, which must not be there yet: by default target/release-VERSION
#   --no-build     pack the programs and wheels that lie in target/cross/ and target/wheels/ already, and do
#                  not try to publish: for tests

source "$(dirname "${BASH_SOURCE[0]}")/setup.sh"
. scripts/debian.sh

key= out= build=yes
while [ $# -gt 0 ]; do
  case $1 in
    --key) key=${2:?"--key needs a file"}; shift ;;
    --out) out=${2:?"--out needs a folder"}; shift ;;
    --no-build) build=no ;;
    *) fail "unknown argument $1; usage: release.sh [--key KEY] [--out FOLDER] [--no-build]" ;;
  esac
  shift
done
version=$(sed -n 's/^version = "\(.*\)"$/\1/p' Cargo.toml | head -n 1)
out=${out:-target/release-$version}
[ ! -e "$out" ] || fail "$out is there already: remove it, or name another folder with --out"
[ -z "$key" ] || [ -f "$key" ] || fail "there is no secret key $key"
# The one time that is written into archives and packages.
SOURCE_DATE_EPOCH=$(git log -1 --format=%ct)
export SOURCE_DATE_EPOCH
umask 022
work=target/release-work
rm -rf "$work"
mkdir -p "$work/out"

if [ "$build" = yes ]; then
  [ -z "$(git status --porcelain)" ] || fail "the tree has changes: a release is made of a commit"
  cargo publish --quiet --dry-run --locked
fi
[ -z "$key" ] || setup_minisign

# archive PROCESSOR EDITION PROGRAM
archive() {
  local name=frosthead-$version-linux-$1 folder documents
  [ "$2" = full ] || name=frosthead-edge-$version-linux-$1
  folder=$work/$name documents=$work/$name/share/doc/frosthead
  mkdir -p "$folder"/{bin,lib/frosthead} "$documents"
  cp "$3" "$folder/bin/frosthead"
  cp "$(runtime_folder "$1")"/libonnxruntime.so.* "$folder/lib/frosthead/"
  cp "$(runtime_folder "$1")/LICENSE" "$documents/onnxruntime-LICENSE"
  cp "$(runtime_folder "$1")/ThirdPartyNotices.txt" "$documents/onnxruntime-ThirdPartyNotices.txt"
  cp LICENSE-APACHE LICENSE-MIT THIRD-PARTY.md README.md CHANGELOG.md "$documents/"
  printf '%s\n' "$1" >"$documents/processor"
  if [ "$2" = full ]; then
    mkdir -p "$folder"/share/man/man1 "$folder"/share/{bash-completion/completions,zsh/site-functions}
    mkdir -p "$folder"/share/fish/vendor_completions.d
    cp "$work"/manual/man/*.1 "$folder/share/man/man1/"
    cp "$work/manual/completions/frosthead.bash" "$folder/share/bash-completion/completions/frosthead"
    cp "$work/manual/completions/_frosthead" "$folder/share/zsh/site-functions/"
    cp "$work/manual/completions/frosthead.fish" "$folder/share/fish/vendor_completions.d/"
  fi
  cp packaging/install.sh "$folder/"
  chmod -R u=rwX,go=rX "$folder"
  tar --create --sort=name --format=ustar --owner=0 --group=0 --numeric-owner --mtime="@$SOURCE_DATE_EPOCH" \
    --directory "$work" "$name" |
    gzip --no-name -9 >"$work/out/$name.tar.gz"
}

for processor in x86_64 aarch64; do
  setup_runtime "$processor"
  for edition in full edge; do
    program=target/cross/frosthead-$processor-$edition
    [ "$build" = no ] || ./scripts/cross.sh "$processor" "$edition" dist >/dev/null
    [ -x "$program" ] ||
      fail "there is no $program: leave --no-build out, or run scripts/cross.sh $processor $edition"
  done
done
"target/cross/frosthead-$(uname -m)-full" --quiet manual "$work/manual"
for processor in x86_64 aarch64; do
  architecture=amd64
  [ "$processor" = x86_64 ] || architecture=arm64
  for edition in full edge; do
    archive "$processor" "$edition" "target/cross/frosthead-$processor-$edition"
    options=()
    [ "$edition" = full ] || options+=(--edge)
    package=$(./scripts/build-deb.sh dist --arch "$architecture" "${options[@]}" --no-build | tail -n 1)
    cp "$package" "$work/out/"
  done
done
for processor in x86_64 aarch64; do
  [ "$build" = no ] || ./scripts/build-wheel.sh "$processor" >/dev/null
  wheel=$(echo target/wheels/"frosthead-$version"-*"_$processor.whl")
  [ -f "$wheel" ] || fail "there is no $wheel: leave --no-build out, or run scripts/build-wheel.sh $processor"
  cp "$wheel" "$work/out/"
done

(cd "$work/out" && sha256sum -- * >../SHA256SUMS)
mv "$work/SHA256SUMS" "$work/out/"
if [ -n "$key" ]; then
  # Comments of its own, because the default ones say when it was signed. A key with a password asks for it.
  minisign -S -s "$key" -x "$work/out/SHA256SUMS.minisig" -c "signature of a frosthead release" \
    -t "frosthead $version" -m "$work/out/SHA256SUMS" >&2 ||
    fail "$key cannot sign: give a minisign secret key, as \`minisign -G\` makes it"
fi
mv "$work/out" "$out"
rm -rf "$work"
printf '%s\n' "$out"/*

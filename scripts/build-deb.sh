#!/usr/bin/env bash
# Makes the Debian package in target/debian/ with cargo-deb, which is installed into .downloads/ when it is
# missing. The last line on standard output is the package's path.
# usage: build-deb.sh [PROFILE] [--arch amd64|arm64 [--edge]] [--no-build]
#   PROFILE      the Cargo profile of the program: release (the default), dist (smaller, minutes longer), dev
#   --arch       for Debian 10 and later on that processor, with the program of cross.sh, not for this system
#   --edge       the program that only evaluates, predicts and inspects, as package frosthead-edge: without
#                service and man pages
#   --no-build   for tests: pack what lies in target/ already, in a hurry where --arch is not given

source "$(dirname "${BASH_SOURCE[0]}")/setup.sh"

profile=release architecture= edition=full build=yes
usage="usage: build-deb.sh [release|dist|dev] [--arch amd64|arm64 [--edge]] [--no-build]"
while [ $# -gt 0 ]; do
  case $1 in
    --no-build) build=no ;;
    --edge) edition=edge ;;
    --arch) architecture=${2:-}; shift ;;
    release | dist | dev) profile=$1 ;;
    *) fail "unknown argument $1; $usage" ;;
  esac
  shift
done
case $architecture in
  '') [ "$edition" = full ] || fail "--edge needs --arch; $usage"; processor=$(uname -m) ;;
  amd64) processor=x86_64 ;;
  arm64) processor=aarch64 ;;
  *) fail "found architecture $architecture; $usage" ;;
esac
folder=$profile
[ "$profile" != dev ] || folder=debug

for program in dpkg-deb dpkg-shlibdeps xz; do
  command -v "$program" >/dev/null || fail "$program is missing: install Debian's dpkg-dev and xz-utils"
done
setup_cargo_deb
setup_runtime "$processor"

options=(--no-build --profile "$profile" --locked --compress-system)
if [ -z "$architecture" ]; then
  [ "$build" = no ] || cargo build --quiet --locked --profile "$profile"
  program=target/$folder/frosthead
  pages=$program
  [ "$build" = yes ] || options+=(--fast)
else
  target=$processor-unknown-linux-gnu
  program=target/cross/frosthead-$processor-$edition
  # Man pages come out of a program that runs here.
  pages=target/cross/frosthead-$(uname -m)-full
  if [ "$build" = yes ]; then
    ./scripts/cross.sh "$processor" "$edition" "$profile" >/dev/null
    [ "$edition" = edge ] || [ "$program" = "$pages" ] ||
      ./scripts/cross.sh "$(uname -m)" full "$profile" >/dev/null
  fi
  # Cargo has stripped it; this system's strip knows this system's processor only.
  options+=(--no-strip --target "$target" --variant "$([ "$edition" = full ] && echo portable || echo edge)")
fi
[ -x "$program" ] || fail "there is no $program: leave --no-build out, or build it first"
rm -rf target/deb target/debian
if [ "$edition" = full ]; then
  [ -x "$pages" ] ||
    fail "there is no $pages, whose man pages are packed: leave --no-build out, or build it first"
  "$pages" --quiet manual target/deb
fi
# Where the list of Cargo.toml looks for them, whatever the processor.
mkdir -p target/deb/onnxruntime
runtime=$(runtime_folder "$processor")
cp "$runtime"/{libonnxruntime.so.*,LICENSE,ThirdPartyNotices.txt} target/deb/onnxruntime/
if [ -n "$architecture" ]; then
  # In place of what Cargo laid there, which may be the other edition; a link to it would be written through.
  mkdir -p "target/$target/$folder"
  cp --remove-destination "$program" "target/$target/$folder/frosthead"
fi
"$downloads/cargo-deb/bin/cargo-deb" --quiet "${options[@]}" --output target/debian/ >&2
printf '%s\n' target/debian/*.deb

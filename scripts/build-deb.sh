#!/usr/bin/env bash
# Makes the Debian package in target/debian/ with cargo-deb, which is installed into .downloads/ when it is missing. The last line on
# standard output is the package's path.
# usage: build-deb.sh [PROFILE] [--no-build]
#   PROFILE      the Cargo profile of the program: release (the default), dist (smaller, minutes longer), dev
#   --no-build   pack the program that lies in target/ already, compressed in a hurry: for tests

source "$(dirname "${BASH_SOURCE[0]}")/setup.sh"

cargo_deb_version=3.8.0
profile=release
build=yes
for argument in "$@"; do
  case $argument in
    --no-build) build=no ;;
    release | dist | dev) profile=$argument ;;
    *) fail "unknown argument $argument; usage: build-deb.sh [release|dist|dev] [--no-build]" ;;
  esac
done
folder=$profile
[ "$profile" != dev ] || folder=debug

for program in dpkg-deb dpkg-shlibdeps xz; do
  command -v "$program" >/dev/null || fail "$program is missing: install Debian's dpkg-dev and xz-utils"
done

# Unoptimised, without its optional parts (xz compresses): it runs for seconds, and would compile for minutes.
setup_cargo_deb() {
  local root=$downloads/cargo-deb
  [ "$("$root/bin/cargo-deb" --version 2>/dev/null)" = "cargo-deb $cargo_deb_version" ] && return
  echo "setup: cargo-deb $cargo_deb_version" >&2
  CARGO_PROFILE_DEV_DEBUG=0 CARGO_PROFILE_DEV_OPT_LEVEL=0 cargo install --quiet --debug --locked --no-default-features \
    --root "$root" --target-dir "$root/target" "cargo-deb@$cargo_deb_version"
  rm -rf "$root/target"
}
setup_cargo_deb

[ "$build" = no ] || cargo build --quiet --locked --profile "$profile"
program=target/$folder/frosthead
[ -x "$program" ] || fail "there is no $program: leave --no-build out, or run cargo build --profile $profile"
rm -rf target/deb target/debian
"$program" --quiet manual target/deb
options=(--no-build --profile "$profile" --locked --compress-system)
[ "$build" = yes ] || options+=(--fast)
"$downloads/cargo-deb/bin/cargo-deb" --quiet "${options[@]}" >&2
printf '%s\n' target/debian/*.deb

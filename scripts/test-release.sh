#!/usr/bin/env bash
# Makes the release's files twice of the programs that lie in target/cross/ (scripts/cross.sh, all four) and the
# wheels in target/wheels/ (scripts/build-wheel.sh, both), compares every byte, verifies sums and signature,
# installs the archive of this machine's processor below a prefix and its wheel into an environment, and looks
# into the Debian packages.
source "$(dirname "${BASH_SOURCE[0]}")/setup.sh"
. scripts/debian.sh

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
wrong() {
  printf 'release: %s\n' "$*" >&2
  exit 1
}

setup_minisign
minisign -G -W -p "$work/key.pub" -s "$work/key" >/dev/null
./scripts/release.sh --no-build --key "$work/key" --out "$work/one" >/dev/null
./scripts/release.sh --no-build --key "$work/key" --out "$work/two" >/dev/null
diff --recursive "$work/one" "$work/two" || wrong "two runs of release.sh made different bytes"
ls -l "$work/one"
(cd "$work/one" && sha256sum --check --quiet SHA256SUMS)
[ "$(wc -l <"$work/one/SHA256SUMS")" = "$(($(ls "$work/one" | wc -l) - 2))" ] ||
  wrong "SHA256SUMS does not list every file"
verify() { minisign -V -p "$work/key.pub" -x "$work/one/SHA256SUMS.minisig" -m "$1" >/dev/null 2>&1; }
verify "$work/one/SHA256SUMS" || wrong "the signature is not that of the sums"
sed 's/^./0/' "$work/one/SHA256SUMS" >"$work/altered"
! verify "$work/altered" || wrong "the signature holds for altered sums, too"
if ./scripts/release.sh --no-build --out "$work/one" 2>"$work/said"; then
  wrong "what is there was written over"
fi
grep -q "is there already" "$work/said" || wrong "$(cat "$work/said")"

size() { stat --format %s "$1"; }
for processor in x86_64 aarch64; do
  for edition in frosthead frosthead-edge; do
    archive=$(echo "$work/one/$edition"-[0-9]*"-linux-$processor.tar.gz")
    mkdir "$work/$edition-$processor"
    tar --extract --file "$archive" --directory "$work/$edition-$processor" --strip-components 1
    if [ "$processor" = "$(uname -m)" ]; then
      "$work/$edition-$processor/install.sh" --prefix "$work/prefix" >/dev/null
      library=$(cd / && env -i "$work/prefix/bin/frosthead" --quiet doctor --json |
        python3 -c 'import json, sys; print(json.load(sys.stdin)["library"])')
      [[ $library == "$work/prefix/lib/frosthead/"* ]] ||
        wrong "$edition found $library, expected the installed one"
      rm -r "$work/prefix"
    elif "$work/$edition-$processor/install.sh" --prefix "$work/other" 2>"$work/said" ||
      [ -e "$work/other" ]; then
      wrong "install.sh of $processor installs on $(uname -m)"
    fi
  done
  # AArch64's code is smaller, and so are the boxes.
  most=8000000
  [ "$processor" = aarch64 ] || most=10000000
  [ "$(size "$work/frosthead-edge-$processor/bin/frosthead")" -le "$most" ] ||
    wrong "the edge program for $processor is larger than $most bytes"
done
for architecture in amd64 arm64; do
  for package in frosthead frosthead-edge; do
    file=$(echo "$work/one/${package}_"*"_$architecture.deb")
    found=$(dpkg-deb --showformat '${Package} ${Architecture} ${Depends}' --show "$file")
    [[ $found == "$package $architecture libc6 (>= 2.28), "* ]] || wrong "$file says $found"
    dpkg-deb --contents "$file" | grep ' ./usr/lib/frosthead/libonnxruntime.so.1' >/dev/null ||
      wrong "$file has no ONNX Runtime"
  done
  [ "$(size "$work/one/frosthead-edge_"*"_$architecture.deb")" -le 14000000 ] ||
    wrong "the edge package for $architecture is larger than 14 MB"
done
for processor in x86_64 aarch64; do
  wheel=$(echo "$work/one/frosthead-"*"-cp310-abi3-manylinux_2_28_$processor.whl")
  [ "$(size "$wheel")" -le 14000000 ] || wrong "$wheel is larger than 14 MB"
done
python3 -m venv "$work/python"
"$work/python/bin/pip" install --quiet --disable-pip-version-check --no-deps \
  "$work/one/frosthead-"*"_$(uname -m).whl"
version=$(cd / && ORT_DYLIB_PATH=$OLDPWD/.downloads/onnxruntime "$work/python/bin/frosthead" --version)
[[ $version == frosthead\ * ]] || wrong "the wheel's command says $version"
echo "release: all passed"

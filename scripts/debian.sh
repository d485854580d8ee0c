# Packages of Debian, unpacked into .downloads/ without installing anything: an emulator of other processors,
# minisign, root folders with the C libraries of the oldest Debian that still stands beside this machine's own
# on its mirror, all pinned by version and SHA-256; and Rust for other processors, where rustup has none.
# apt-get fetches them from that mirror, with lists of its own: this machine's stay as they are. Sourced by
# release.sh, test-release.sh and test-aarch64.sh, and by setup.sh where rustup has none.

oldest_suite=bullseye
emulator_suite=trixie
emulator="
qemu-user:amd64=1:10.0.13+ds-0+deb13u1 ca6ede739327a20ae5a3498230c8a3a9a072c586e131bc6bcc1201eb1725e336
"
root_amd64="
libc6:amd64=2.31-13+deb11u11 05f7264da867b37f4c5ce49266b558ea1e81e05a9464f623152fca70f3550282
libgcc-s1:amd64=10.2.1-6 e478f2709d8474165bb664de42e16950c391f30eaa55bc9b3573281d83a29daf
libstdc++6:amd64=10.2.1-6 5c155c58935870bf3b4bfe769116841c0d286a74f59eccfd5645693ac23f06b1
"
root_arm64="
libc6:arm64=2.31-13+deb11u11 baaa9aa184e2f21738c5819055e6740cc5b22f198e3f416e33f82b40ff6933d8
libgcc-s1:arm64=10.2.1-6 e2fcdb378d3c1ad1bcb64d4fb6b37aab44011152beca12a4944f435a2582df1f
libstdc++6:arm64=10.2.1-6 7869aa540cc46e9f3d4267d5bde2af0e5b429a820c1d6f1a4cfccfe788c31890
"
# What signs a release: the same file and key give the same bytes, which other implementations do not promise.
signer_suite=bookworm
signer="
minisign:amd64=0.11-1 878264fbb6cfd39c7a67262f712ca73d1bfd0d8533f37c2a92c4af2b42b062fd
libsodium23:amd64=1.0.18-1+deb12u1 bceae6943d6e11fb53ec3f81d9630ec9ed03e51f89364902b05ebe402ae946ec
"
# Python for arm64, of the oldest Debian with one that the package is for.
python_suite=bookworm
root_python="
libc6:arm64=2.36-9+deb12u14 01f4330719fd4f65580e16ea5a0527f372fca750e8f588d26deaf09f2d3b1cf4
libgcc-s1:arm64=12.2.0-14+deb12u1 576926b283613db80168ddf76380a3bd877602778cf0d226caa7bfbfa71eacf3
libstdc++6:arm64=12.2.0-14+deb12u1 26e138c677a985775331373828a6c286c551ff397cb735d00e2383cb273d1cb2
libexpat1:arm64=2.5.0-1+deb12u2 8dc1976735acf825e3a922d82f171e20feec7394da2b8c616091983e38706275
zlib1g:arm64=1:1.2.13.dfsg-1 52b8b8a145bbe1956bba82034f77022cbef0c3d0885c9e32d9817a7932fe1913
libffi8:arm64=3.4.4-1 80b5c36177dc0e29d531c7eddbed3cc7355cb490e49f8cfa5959572d161f27b3
libpython3.11-minimal:arm64=3.11.2-6+deb12u8 c48bac178c0fc43a2bf8ace784c762b5ee83e2b981894a991dc3ccfd3ec7cd4b
libpython3.11-stdlib:arm64=3.11.2-6+deb12u8 e79876de55c6c2dca10d044b2fa69ccd863950ea01714220c1982d16008105f9
python3.11-minimal:arm64=3.11.2-6+deb12u8 6a07dd571f1a15af2f855d64571766fe44b73a57cc3b5ca79502bc89156a5e12
"

# use_suite WORK SUITE ARCHITECTURE…: sets `apt`, which knows these packages and none that is installed.
use_suite() {
  local work=$1 suite=$2 release mirror architecture
  shift 2
  release=$(. /etc/os-release && printf '%s' "${VERSION_CODENAME:-}")
  mirror=$(apt-get indextargets --format '$(REPO_URI) $(RELEASE) $(COMPONENT)' 'Created-By: Packages' |
    awk -v release="$release" '$2 == release && $3 == "main" { print $1; exit }')
  [ -n "$mirror" ] ||
    fail "apt knows no mirror of this machine's Debian: packages come from there; add one to /etc/apt"
  mkdir -p "$work"/{lists,cache/archives,packages}/partial "$work/unpacked"
  printf '%s\n' "Types: deb" "URIs: $mirror" "Suites: $suite" "Components: main" \
    "Architectures: $*" "Signed-By: /usr/share/keyrings/debian-archive-keyring.gpg" \
    >"$work/suite.sources"
  : >"$work/status"
  apt=(apt-get --quiet=2 -o "Dir::Etc::sourcelist=$work/suite.sources" -o Dir::Etc::sourceparts=/dev/null
    -o "Dir::State::lists=$work/lists" -o "Dir::Cache=$work/cache" -o "Dir::State::status=$work/status"
    -o "APT::Architecture=$1" -o Acquire::Languages=none -o APT::Update::Post-Invoke-Success::=
    -o Acquire::IndexTargets::deb::DEP-11::DefaultEnabled=false -o APT::Sandbox::User=root)
  for architecture; do apt+=(-o "APT::Architectures::=$architecture"); done
  "${apt[@]}" update >&2 ||
    fail "apt-get could not read the list of $suite: check the network, and that the mirror still has it"
}

# setup_packages FOLDER SUITE ARCHITECTURE PACKAGES: unpacks packages, a line `NAME:ARCHITECTURE=VERSION
# SHA256` each, into a folder.
setup_packages() {
  local target=$downloads/$1 suite=$2 architecture=$3 packages work apt package sha256 files
  packages=$(printf '%s' "$4")
  [ "$(cat "$target/stamp" 2>/dev/null)" = "$packages" ] && return
  echo "setup: $target from Debian's $suite" >&2
  work=$(realpath "$(work_folder)")
  use_suite "$work" "$suite" "$architecture"
  while read -r package sha256; do
    [ -n "$package" ] || continue
    mkdir "$work/one"
    (cd "$work/one" && "${apt[@]}" download "$package") >&2 ||
      fail "apt-get could not download $package (pinned in scripts/debian.sh): perhaps there is a newer one"
    files=("$work"/one/*.deb)
    check_sha256 "${files[0]}" "$sha256"
    dpkg-deb --extract "${files[0]}" "$work/unpacked"
    rm -r "$work/one"
  done <<<"$packages"
  printf '%s\n' "$packages" >"$work/unpacked/stamp"
  rm -rf "$target"
  mv "$work/unpacked" "$target"
  rm -rf "$work"
}

# minisign ARGUMENTS…
minisign() {
  local root=$downloads/minisign
  LD_LIBRARY_PATH=$root/usr/lib/x86_64-linux-gnu "$root/usr/bin/minisign" "$@"
}

setup_minisign() {
  setup_packages minisign "$signer_suite" amd64 "$signer"
}

# One program without libraries, so that it needs nothing of its own suite.
setup_emulator() {
  setup_packages qemu "$emulator_suite" amd64 "$emulator"
}

# setup_root amd64|arm64: where it lies is .downloads/root-ARCHITECTURE.
setup_root() {
  local name=root_$1
  setup_packages "root-$1" "$oldest_suite" "$1" "${!name}"
}

# The root folder .downloads/root-python, with Python for arm64.
setup_root_with_python() {
  setup_packages root-python "$python_suite" arm64 "$root_python"
}

# setup_debian_rust PROCESSOR: Debian's newest Rust with its library for that processor, which is
# .downloads/rust-PROCESSOR then, a root folder to build in. That suite moves every day, so nothing is pinned;
# apt-get checks Debian's signature. Nothing is configured: a compiler needs its files only.
setup_debian_rust() {
  local target=$downloads/rust-$1 architecture=amd64 work apt package
  [ -f "$target/stamp" ] && return
  [ "$1" = x86_64 ] || architecture=arm64
  echo "setup: $target from Debian's sid" >&2
  work=$(realpath "$(work_folder)")
  use_suite "$work" sid amd64 arm64
  "${apt[@]}" install --yes --download-only --no-install-recommends base-files cargo coreutils dash gcc \
    libc6-dev rustc "libstd-rust-dev:$architecture" >&2 ||
    fail "apt-get could not download Rust from Debian's sid: check the network"
  # First what says where the old names of folders lead.
  for package in "$work"/cache/archives/{base-files_,}*.deb; do
    dpkg-deb --extract "$package" "$work/unpacked"
  done
  ln -sf gcc "$work/unpacked/usr/bin/cc"
  mkdir -p "$work"/unpacked/{proc,dev,tmp}
  touch "$work/unpacked/stamp"
  rm -rf "$target"
  mv "$work/unpacked" "$target"
  rm -rf "$work"
}

# in_debian_rust PROCESSOR COMMAND…: runs it there, where this repository, the downloads and Cargo's crates lie
# as they do here. The crates are fetched before: nothing there could.
in_debian_rust() {
  local root cargo_home
  root=$(realpath "$downloads/rust-$1") cargo_home=$(realpath "${CARGO_HOME:-$HOME/.cargo}")
  shift
  cargo fetch --quiet --locked
  unshare --map-root-user --mount sh -c '
    set -e
    root=$1 here=$2 downloads=$3 crates=$4
    shift 4
    for kind in proc dev; do mount --rbind "/$kind" "$root/$kind"; done
    for folder in "$here" "$downloads" "$crates"; do
      mkdir -p "$root$folder"
      mount --rbind "$folder" "$root$folder"
    done
    exec chroot "$root" env --chdir="$here" PATH=/usr/sbin:/usr/bin CARGO_HOME="$crates" CARGO_NET_OFFLINE=true "$@"
  ' enter "$root" "$PWD" "$(realpath "$downloads")" "$cargo_home" "$@"
}

# Packages of Debian, pinned by version and SHA-256, unpacked into .downloads/ without installing anything: an
# emulator of other processors, and root folders with the C libraries of the oldest Debian that still stands
# beside this machine's own on its mirror. apt-get fetches them from that mirror, with lists of its own: this
# machine's stay as they are. Sourced by test-aarch64.sh.

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

# setup_packages FOLDER SUITE ARCHITECTURE PACKAGES: unpacks packages, a line `NAME:ARCHITECTURE=VERSION
# SHA256` each, into a folder.
setup_packages() {
  local target=$downloads/$1 suite=$2 architecture=$3 packages work release mirror apt package sha256 files
  packages=$(printf '%s' "$4")
  [ "$(cat "$target/stamp" 2>/dev/null)" = "$packages" ] && return
  echo "setup: $target from Debian's $suite" >&2
  release=$(. /etc/os-release && printf '%s' "${VERSION_CODENAME:-}")
  mirror=$(apt-get indextargets --format '$(REPO_URI) $(RELEASE) $(COMPONENT)' 'Created-By: Packages' |
    awk -v release="$release" '$2 == release && $3 == "main" { print $1; exit }')
  [ -n "$mirror" ] ||
    fail "apt knows no mirror of this machine's Debian: packages come from there; add one to /etc/apt"
  work=$(realpath "$(work_folder)")
  mkdir -p "$work"/{lists,cache/archives,packages}/partial "$work/unpacked"
  printf '%s\n' "Types: deb" "URIs: $mirror" "Suites: $suite" "Components: main" \
    "Architectures: $architecture" "Signed-By: /usr/share/keyrings/debian-archive-keyring.gpg" \
    >"$work/suite.sources"
  : >"$work/status"
  apt=(apt-get --quiet=2 -o "Dir::Etc::sourcelist=$work/suite.sources" -o Dir::Etc::sourceparts=/dev/null
    -o "Dir::State::lists=$work/lists" -o "Dir::Cache=$work/cache" -o "Dir::State::status=$work/status"
    -o "APT::Architecture=$architecture" -o "APT::Architectures::=$architecture" -o Acquire::Languages=none
    -o Acquire::IndexTargets::deb::DEP-11::DefaultEnabled=false -o APT::Update::Post-Invoke-Success::=
    -o APT::Sandbox::User=root)
  "${apt[@]}" update >&2 ||
    fail "apt-get could not read the list of $suite: check the network, and that the mirror still has it"
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

# One program without libraries, so that it needs nothing of its own suite.
setup_emulator() {
  setup_packages qemu "$emulator_suite" amd64 "$emulator"
}

# setup_root amd64|arm64: where it lies is .downloads/root-ARCHITECTURE.
setup_root() {
  local name=root_$1
  setup_packages "root-$1" "$oldest_suite" "$1" "${!name}"
}

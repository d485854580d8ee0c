# What the examples share: the program, an imported encoder, and a way to show each command. Sourced by their run.sh.

source "$(dirname "${BASH_SOURCE[0]}")/../scripts/setup.sh"
setup_model

program=${FROSTHEAD:-target/release/frosthead}
[ -n "${FROSTHEAD:-}" ] || cargo build --release --quiet
[ -x "$program" ] || fail "$program is no program"

# run ARGUMENT…: shows a call of frosthead and makes it; a shell that reads the page may type the same.
run() {
  printf '\n$ frosthead'
  printf ' %s' "$@"
  printf '\n'
  "$program" "$@"
}

"$program" --quiet import "$downloads/all-MiniLM-L6-v2" --out models/all-MiniLM-L6-v2

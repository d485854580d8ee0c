#!/usr/bin/env bash
# The server's page in a real headless Chromium (Debian's `chromium` and `chromium-driver`, which are installed when they are missing).
#
#   scripts/test-page.sh [FROSTHEAD] [FOLDER]      by default the debug build, and the bundles of make-test-bundles.sh
#
# After scripts/test.sh, which fetches what it needs.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

frosthead=${1:-target/debug/frosthead}
work=$(mktemp -d)
server=
trap '[ -z "$server" ] || kill "$server" 2>/dev/null || true; rm -rf "$work"' EXIT

for program in chromium chromedriver; do
  if ! command -v "$program" >/dev/null; then
    echo "page: installing Debian's chromium and chromium-driver" >&2
    { apt-get update && apt-get install --yes --no-install-recommends chromium chromium-driver; } >"$work/apt" 2>&1 ||
      { cat "$work/apt" >&2; echo "page: the browser cannot be had: install chromium and chromium-driver" >&2; exit 1; }
  fi
done

folder=${2:-target/tmp/bundles}
./scripts/make-test-bundles.sh "$frosthead" "$folder"
mkdir -p target/tmp
# looked_at BUNDLE PART: what page_test.py checks of the page of this bundle.
looked_at() {
  echo sesame >"$work/keys"
  "$frosthead" serve "$folder/$1.frost" --api-keys "$work/keys" --bind 127.0.0.1:0 --long refuse --log json 2>"$work/log" &
  server=$!
  address=
  for _ in $(seq 300); do
    address=$(python3 -c 'import json, sys; print(next((line["address"] for line in map(json.loads, open(sys.argv[1])) if line["event"] == "serving"), ""))' "$work/log")
    [ -n "$address" ] && break
    kill -0 "$server" 2>/dev/null || { cat "$work/log" >&2; exit 1; }
    sleep 0.1
  done
  python3 scripts/page_test.py "$2" "$address" "target/tmp/page-$2.png" "$work/keys"
  kill -TERM "$server"
  wait "$server"
  server=
}
looked_at one labels
looked_at kinds kinds

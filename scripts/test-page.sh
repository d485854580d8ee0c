#!/usr/bin/env bash
# The server's page, and those that compare, train and eval write, in a real headless Chromium (Debian's `chromium` and `chromium-driver`,
# which are installed when they are missing); axe-core (npm) looks for what keeps people out.
#
#   scripts/test-page.sh [FROSTHEAD] [FOLDER]      by default the debug build, and the bundles of make-test-bundles.sh
#
# After scripts/test.sh, which fetches what it needs.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
. scripts/fetch.sh

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

if ! command -v npm >/dev/null; then
  echo "page: installing Debian's npm" >&2
  { apt-get update && apt-get install --yes --no-install-recommends npm; } >"$work/apt" 2>&1 ||
    { cat "$work/apt" >&2; echo "page: npm cannot be had, which fetches axe-core: install it" >&2; exit 1; }
fi

# npm's package with the rules, checked.
axe=target/tmp/axe.min.js
if [ ! -f "$axe" ]; then
  npm pack axe-core@4.10.3 --silent --pack-destination "$work" >/dev/null
  check_sha256 "$work/axe-core-4.10.3.tgz" 0f2b4d7dcdf7d1219df8d1959ad68e565f51d14c3f0d88bb71cd59abeb956292
  mkdir -p target/tmp
  tar -xzf "$work/axe-core-4.10.3.tgz" -C "$work" package/axe.min.js
  mv "$work/package/axe.min.js" "$axe"
fi

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
  python3 scripts/page_test.py "$2" "$address" "target/tmp/page-$2.png" "$work/keys" "$axe"
  kill -TERM "$server"
  wait "$server"
  server=
}
looked_at one labels
looked_at kinds kinds
looked_at many many
# What commands write, of few labels, of 150 and of every kind of task.
pages=$work/pages
mkdir -p "$pages"
quiet() { "$frosthead" --quiet "$@" --cache "$folder/cache" >/dev/null; }
quiet eval "$folder/many.csv" --model "$folder/many" --rows all --html "$pages/eval-many.html"
quiet eval "$folder/part.csv" --model "$folder/kinds" --rows all --html "$pages/eval-kinds.html"
quiet train "$folder/many.csv" --backbone "$folder/backbone" --task intent --out "$folder/many" --store-layers last --html "$pages/train-many.html"
# Few rows: what is compared takes minutes with many, and the page is the same.
awk 'NR % 8 == 1' "$folder/part.csv" >"$work/few.csv"
quiet compare "$work/few.csv" --backbone "$folder/backbone" --task domain --any-of tags --number words --scenarios 1,2 --learning-curve 50%,100% \
  --depths 0,6 --precision fp32 --out "$work/compare"
cp "$work/compare/report.html" "$pages/compare.html"
quiet compare "$folder/many.csv" --backbone "$folder/backbone" --task intent --scenarios 1,2 --out "$work/compare-many"
cp "$work/compare-many/report.html" "$pages/compare-many.html"
python3 scripts/page_test.py reports "$pages" target/tmp/page-reports.png - "$axe"

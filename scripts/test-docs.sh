#!/usr/bin/env bash
# Runs the commands of README.md, docs/ and examples/, and fails when they print something else than the pages say, an option is
# gone, a link leads nowhere, or a page has grown too long. scripts/docs_test.py says how outputs are compared.
# usage: test-docs.sh [--update] [--record NAME] [PAGE …]
#   --update        write what is printed now into the pages: then look at them, and shorten with …
#   --record NAME   run what is too long for this test, and keep what it prints in docs/recorded/NAME.txt
#   FROSTHEAD       in the environment: the program [default: target/release/frosthead, built when it is missing]

source "$(dirname "${BASH_SOURCE[0]}")/setup.sh"
setup_model
setup_demo_data

program=${FROSTHEAD:-target/release/frosthead}
[ -n "${FROSTHEAD:-}" ] || cargo build --release --quiet
exec python3 -B scripts/docs_test.py "$program" "$@"

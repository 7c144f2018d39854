#!/bin/bash
# Runs the tests that need neither root nor Docker, and prints how many tests were skipped. go
# test does not print that: it hides the output of packages that pass.
set -uo pipefail

cd "$(dirname "${BASH_SOURCE[0]}")/.." || exit 2
CAPMON_SKIPPED=$(mktemp)
export CAPMON_SKIPPED
trap 'rm -f -- "$CAPMON_SKIPPED"' EXIT
go test "$@" ./...
code=$?
skipped=$(awk '{ n += $1 } END { print n + 0 }' "$CAPMON_SKIPPED")
if ((skipped > 0)); then
	echo "skipped $skipped tests that need root and Docker: run \"make test\" as root"
fi
exit "$code"

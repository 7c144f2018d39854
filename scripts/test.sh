#!/bin/bash
# Runs the Go tests with the Docker daemon of DOCKER_HOST, and beside them the guests of
# test-kernels.sh: the Go tests often wait, and the guests use the processor time that
# is left. Exits with 1 if a test of either fails.
set -euo pipefail

cd "$(dirname "${BASH_SOURCE[0]}")/.."
code=0

scripts/images.sh
scripts/corpus-images.sh fast
set -m # a process group of their own, to end all of it
nice -n 19 scripts/test-kernels.sh --short &
guests=$!
set +m
trap 'kill -- "-$guests" 2>/dev/null || true' EXIT
go test -race -count=1 -timeout 80m -parallel 6 ./... || code=1
wait "$guests" || code=1
exit "$code"

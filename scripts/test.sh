#!/bin/bash
# Runs the Go tests with the Docker daemon at DOCKER_HOST and, at the same time, the guests of
# test-kernels.sh. The guests have the lowest priority: they use the processors while the Go
# tests wait. Exits with 1 if a Go test or a guest fails.
set -euo pipefail

cd "$(dirname "${BASH_SOURCE[0]}")/.."
code=0

scripts/images.sh
scripts/corpus-images.sh fast
set -m # gives the guests a process group of their own, which the trap ends
nice -n 19 scripts/test-kernels.sh --short &
guests=$!
set +m
trap 'kill -- "-$guests" 2>/dev/null || true' EXIT
go test -race -count=1 -timeout 80m -parallel 6 ./... || code=1
wait "$guests" || code=1
exit "$code"

#!/bin/bash
# Runs the tests of an engine with a current version of the engine, which setup.sh installs.
# The tests also run with Debian's version (make test). They need a Docker daemon with the
# image bb.
#
#   test-engine.sh containerd [REGEXP...]   containerd, its CRI and crictl
#   test-engine.sh podman [REGEXP...]       Podman
#
# REGEXP selects tests of test/e2e by their names.
set -euo pipefail

cd "$(dirname "${BASH_SOURCE[0]}")/.."
case ${1:-} in
containerd)
	export CAPMON_CONTAINERD=$PWD/.cache/containerd
	tests=(Containerd Kubernetes HostilePods ImagesCannotNamePods OnlyTheCRI DoctorOfANode Crictl SeveralEngines CommandsWithEveryEngine)
	;;
podman)
	export CAPMON_PODMAN=$PWD/.cache/podman
	tests=(Podman ContainersCannotForgeBundles SeveralEngines CommandsWithEveryEngine)
	;;
*)
	sed -n '2,/^set -/s/^# \{0,1\}//p' "${BASH_SOURCE[0]}" >&2
	exit 2
	;;
esac
if (($# > 1)); then tests=("${@:2}"); fi
go test -race -count=1 -timeout 20m -parallel 4 ./test/e2e -run "$(IFS='|'; echo "${tests[*]}")"

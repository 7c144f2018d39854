#!/bin/bash
# Runs tests with a current Docker daemon, which keeps images in containerd's image store.
# The daemon is a private one, built by setup.sh, with the newest runc.
#
#   test-docker.sh             the main tests: a quarter of an hour
#   test-docker.sh REGEXP...   the tests of the command with these names
set -euo pipefail

cd "$(dirname "${BASH_SOURCE[0]}")/.."
scripts/setup.sh docker
export PATH=$PWD/.cache/bin:$PATH CAPMON_DOCKERD=$PWD/.cache/bin/dockerd # with its docker-proxy and the newest runc

# Of the command: workloads and their lists, files, audit, flags, verify, capmon's own rights.
command=(
	ProfileCommandNeeds ProfileExecNeeds CgroupsNameTheirContainer EveryContainerOfACrowdIsReportedExactly
	FilesThatMade FilesOfShortContainers GivingFilesServes ShortPrograms ProgramsThatAreGone
	AuditOf FlagsGrantInContainersOfDocker ServiceOfASwarm ServicesOfCompose
	'Verify$' VerifyAProfile VerifyAServiceOfCompose
	DockerInDocker LiveRestore UserNamespaceOfTheEngine
	DoctorOnLayers DocumentedContainerProfiles UnitProfilesWithItsCapabilities
)
# Of the packages that ask the engine and read its layers.
packages=(./internal/container ./internal/untrustedfs ./internal/observe ./internal/dockerrun)
if (($# > 0)); then command=("$@") packages=(); fi

directory=$(mktemp -d /var/tmp/capmon.XXXXXX)
trap 'scripts/dockerd.sh stop --purge "$directory"' EXIT
DOCKER_HOST=$(scripts/dockerd.sh start "$directory")
export DOCKER_HOST
scripts/images.sh
if ((${#packages[@]} > 0)); then go test -count=1 -timeout 20m "${packages[@]}"; fi
go test -count=1 -timeout 40m -parallel 4 ./cmd/capmon -run "$(IFS='|'; echo "${command[*]}")"

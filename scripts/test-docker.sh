#!/bin/bash
# Runs tests with a current Docker daemon, which keeps images in containerd's image store.
# The daemon is private and uses the newest runc. setup.sh builds both.
#
#   test-docker.sh             the main tests
#   test-docker.sh REGEXP...   the tests of test/e2e with these names
set -euo pipefail

cd "$(dirname "${BASH_SOURCE[0]}")/.."
scripts/setup.sh docker
export PATH=$PWD/.cache/bin:$PATH CAPMON_DOCKERD=$PWD/.cache/bin/dockerd # PATH has docker-proxy and the newest runc

# Tests of test/e2e: workloads and their lists, files, starts, audit, flags, verify, watch, serve, capmon's own rights.
command=(
	ProfileCommandNeeds ProfileExecNeeds CgroupsIdentifyTheirContainer ManyContainersAreReportedExactly
	DeniedChecksThatMatter SystemdInAContainer HealthCheckCounts GrantsOfEngineAndKernelAgree
	FilesThatNeed FilesOfShortContainers ChangingFileOwners ShortPrograms ProgramsThatAreGone
	ListsWithoutAStart RestartsAreNotStarts PatchRequiresStarts RestartDuringObservation
	AuditOf FlagsGrantInContainersOfDocker FlagsGrantInServicesOfCompose ServiceOfASwarm ServicesOfCompose OneOffs
	'Verify$' VerifyAProfile VerifyAServiceOfCompose VerifyAServiceThatEnds
	ProfileSelectsRunningContainers WatchSelects EveryRawSocketIsReportedAtOnce UsesOfContainersThatEnded
	ServeSavesUses ServeIsKilled EngineIsAwayForAWhile
	DockerInDocker LiveRestore UserNamespaceOfTheEngine
	DoctorOnLayers DocumentedContainerProfiles UnitProfilesWithItsCapabilities
)
# The packages that use the engine's API and read its layers.
packages=(./internal/container ./internal/untrustedfs ./internal/observe ./internal/dockerrun)
if (($# > 0)); then command=("$@") packages=(); fi

directory=$(mktemp -d /var/tmp/capmon.XXXXXX)
trap 'scripts/dockerd.sh stop --purge "$directory"' EXIT
DOCKER_HOST=$(scripts/dockerd.sh start "$directory")
export DOCKER_HOST CAPMON_E2E=1
scripts/images.sh
if ((${#packages[@]} > 0)); then go test -count=1 -timeout 20m "${packages[@]}"; fi
go test -count=1 -timeout 80m -parallel 4 ./test/e2e -run "$(IFS='|'; echo "${command[*]}")"

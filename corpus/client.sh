# What the tests of the workloads have in common. Each is executed with the name of
# the running container in CONTAINER, and succeeds if and only if the software in it works.
# shellcheck shell=bash
set -euo pipefail
: "${CONTAINER:?is the name of the container to test}"

# client COMMAND... runs beside the service, as a user who has no capabilities: what
# the client does is no need of the service. One that waits for an answer that never
# comes is ended.
client() {
	docker exec --interactive --user 65534:65534 --env HOME=/tmp "$CONTAINER" timeout 5 "$@"
}

running() {
	[[ $(docker inspect --format '{{.State.Running}}' "$CONTAINER") == true ]]
}

# eventually COMMAND... repeats it until it succeeds. A service that is not ready in
# twenty seconds, or is gone, will never be.
eventually() {
	local end=$((SECONDS + 20)) output
	until output=$("$@" 2>&1); do
		if ! running || ((SECONDS >= end)); then
			echo "never succeeded: $*: $output" >&2
			return 1
		fi
		sleep 0.1
	done
	echo "$output"
}

# logs prints what the service has written so far.
logs() {
	docker logs "$CONTAINER" 2>&1
}

# prints PATTERN COMMAND... succeeds if a line of the command's output matches. All of
# it is read first: a pipe to grep -q would end the command early.
prints() {
	local pattern=$1 output
	shift
	output=$("$@" 2>&1) || { echo "$output" >&2 && return 1; }
	grep -qE -- "$pattern" <<<"$output" || { echo "$output" >&2 && return 1; }
}

# ends_well waits for a container that is a single command.
ends_well() {
	[[ $(timeout 30 docker wait "$CONTAINER") == 0 ]]
}

# runs_as USER GROUP PROGRAM succeeds if a process of the program has given up root: some
# services go on as root if they may not.
runs_as() {
	prints "^$1 +$2\$" client ps -o euser:32=,egroup:32= -C "$3"
}

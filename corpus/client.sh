# Functions for the tests of the workloads. A test gets the name of the running container in
# CONTAINER, and succeeds if and only if the software in the container works.
# shellcheck shell=bash
set -euo pipefail
: "${CONTAINER:?is the name of the container to test}"

# client COMMAND... runs a command in the container of the service, as a user without
# capabilities, so the client adds no needs to the service. A client that gets no answer is
# killed after 5 seconds.
client() {
	docker exec --interactive --user 65534:65534 --env HOME=/tmp "$CONTAINER" timeout 5 "$@"
}

running() {
	[[ $(docker inspect --format '{{.State.Running}}' "$CONTAINER") == true ]]
}

# eventually COMMAND... repeats the command until it succeeds. It fails if the service is not
# ready after 20 seconds or has ended.
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

# logs prints the output of the service so far.
logs() {
	docker logs "$CONTAINER" 2>&1
}

# prints PATTERN COMMAND... succeeds if a line of the command's output matches. It reads all
# the output first, since a pipe to grep -q would end the command early.
prints() {
	local pattern=$1 output
	shift
	output=$("$@" 2>&1) || { echo "$output" >&2 && return 1; }
	grep -qE -- "$pattern" <<<"$output" || { echo "$output" >&2 && return 1; }
}

# ends_well waits until the container ends, and succeeds if its exit status is 0.
ends_well() {
	[[ $(timeout 30 docker wait "$CONTAINER") == 0 ]]
}

# runs_as USER GROUP PROGRAM succeeds if a process of the program runs as USER and GROUP. Some
# services continue as root if they may not change their user.
runs_as() {
	prints "^$1 +$2\$" client ps -o euser:32=,egroup:32= -C "$3"
}

#!/bin/bash
# Runs a private Docker daemon. The script does not change the host's own daemon, or that
# daemon's configuration and firewall rules. It adds at most one firewall rule, for the
# addresses of the private daemon.
#
#   dockerd.sh start DIR                start the daemon, print the value for DOCKER_HOST
#   dockerd.sh stop [--purge] DIR       stop the daemon
#   dockerd.sh run [--purge] DIR -- COMMAND...
#                                       start the daemon, run COMMAND with DOCKER_HOST set,
#                                       stop the daemon, exit with COMMAND's code
#
# DIR has everything: the socket, the images and the log. --purge deletes these files,
# and DIR itself if nothing else is in it. Several daemons in several DIRs can run at
# the same time. The script needs root. CAPMON_DOCKERD names another dockerd to start.
# CAPMON_DAEMON_JSON has more members for the daemon.json, separated by commas.
set -euo pipefail

scripts=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
newest_runc=$(dirname "$scripts")/.cache/bin/runc # built by setup.sh
# Debian keeps dockerd, ip and runc in sbin. su and some CI runners do not have it in PATH.
PATH=$PATH:/usr/local/sbin:/usr/sbin:/sbin

die() {
	echo "dockerd.sh: $*" >&2
	exit 2
}

usage() {
	sed -n '2,/^set -/s/^# \{0,1\}//p' "${BASH_SOURCE[0]}" >&2
	exit 2
}

# set_paths DIR sets the paths and names that belong to the daemon in DIR.
set_paths() {
	dir=$(realpath -m -- "$1")
	if [[ ! $dir =~ ^[A-Za-z0-9/._+-]+$ ]]; then die "invalid directory $dir: use only letters, digits and /._+-"; fi
	socket=$dir/docker.sock
	docker_host=unix://$socket
	data=$dir/data
	exec_root=$dir/exec
	log=$dir/docker.log
	containerd_socket=$dir/containerd.sock
	configuration=$dir/daemon.json
	containerd_configuration=$dir/containerd.toml
	containerd_log=$dir/containerd.log
	block_file=$dir/addresses # has the address block of the daemon
	hash=$(printf %s "$dir" | sha256sum)
	bridge=capmon-${hash:0:8} # 15 bytes, the longest name that the kernel accepts

	# sun_path has 108 bytes with the final NUL. libnetwork's socket has the longest path of
	# the daemon's own sockets.
	local longest=$exec_root/libnetwork/0123456789ab.sock limit=107
	if ((${#longest} > limit)); then
		die "directory $dir is too long for the unix sockets in it: use at most $((${#dir} - ${#longest} + limit)) bytes"
	fi
}

# processes_with OPTION VALUE prints the ids of the processes that have these two
# arguments next to each other. Unlike a pid file, this works from the first moment of a
# process, so stop also finds the processes of an interrupted start. It never finds a
# process of another program.
processes_with() {
	local file
	for file in $(grep -lszxF -- "$2" /proc/[0-9]*/cmdline || true); do
		if [[ "$(tr '\0' ' ' 2>/dev/null <"$file")" == *" $1 $2 "* ]]; then
			basename "$(dirname "$file")"
		fi
	done
}

daemon_pid() {
	processes_with --config-file "$configuration"
}

# answers succeeds if the daemon's API answers. It sets $complaint to the error otherwise.
answers() {
	complaint=$(DOCKER_HOST=$docker_host docker version --format '{{.Server.Version}}' 2>&1 >/dev/null)
}

to_number() {
	local a b c d
	IFS=. read -r a b c d <<<"$1"
	echo $((a << 24 | b << 16 | c << 8 | d))
}

# free_block prints an unused /20 in the private address ranges: "172.20 16" means
# 172.20.16.0/20. The start of the search depends on DIR, so a daemon usually gets the
# same addresses again.
free_block() {
	local starts=() ends=() destination first length
	while read -r destination; do
		first=$(to_number "${destination%/*}")
		length=32
		if [[ $destination == */* ]]; then length=${destination#*/}; fi
		starts+=("$first")
		ends+=($((first + (1 << (32 - length)) - 1)))
	done < <(ip -4 route show table all | grep -oE '^([a-z]+ )?[0-9]+(\.[0-9]+){3}(/[0-9]+)?' | sed 's/.* //')

	local seed=$((16#${hash:8:6})) range base count i k block clash
	for range in 172.16.0.0/256 10.0.0.0/4096 192.168.0.0/16; do
		base=$(to_number "${range%/*}") count=${range#*/}
		for ((i = 0; i < count; i++)); do
			block=$((base + ((seed + i) % count << 12))) clash=
			for ((k = 0; k < ${#starts[@]}; k++)); do
				if ((block <= ends[k] && starts[k] <= block + 4095)); then
					clash=1
					break
				fi
			done
			if [[ -z $clash ]]; then
				echo "$((block >> 24)).$((block >> 16 & 255)) $((block >> 8 & 255))"
				return
			fi
		done
	done
	die "no free /20 in the private address ranges: ip -4 route show table all lists the routes"
}

# make_bridge creates the bridge of the default network and sets $pool, the addresses
# for docker network create.
make_bridge() {
	local prefix third
	read -r prefix third < <(free_block)
	[[ -n $third ]] || exit 2
	echo "$prefix.$third.0/20" >"$block_file"
	ip link add "$bridge" type bridge || die "creating bridge $bridge failed: dockerd.sh needs NET_ADMIN"
	ip address add "$prefix.$third.1/24" dev "$bridge"
	ip link set "$bridge" up
	pool=$prefix.$((third + 8)).0/21
	# With br_netfilter, the host's firewall also sees the packets from container to container
	# on one bridge, and the rules of the host's own Docker drop them.
	if [[ $(cat /proc/sys/net/bridge/bridge-nf-call-iptables 2>/dev/null) == 1 ]] && command -v iptables >/dev/null; then
		pass --insert || true
	fi
}

# pass --insert adds the only firewall rule, for the daemon's own block; pass --delete removes it.
pass() {
	local block
	block=$(<"$block_file")
	iptables "$1" FORWARD --source "$block" --destination "$block" --jump ACCEPT 2>/dev/null
}

write_configuration() {
	# The daemon gets its own daemon.json, since the host's /etc/docker/daemon.json must not
	# apply. dockerd makes no firewall rules: its chains have fixed names, and a second
	# daemon would rewrite the chains of the first. Containers reach each other and the host,
	# but no other network.
	local runtimes="" default="runc"
	if [[ $("$scripts/runc-capped.sh" --missing) != "[]" ]]; then
		need jq
		runtimes+=', "capped": {"path": "'$scripts/runc-capped.sh'"}'
		default=capped
	fi
	if command -v crun >/dev/null; then
		runtimes+=', "crun": {"path": "'$(type -P crun)'"}'
	fi
	if [[ -x $newest_runc ]]; then
		runtimes+=', "newest-runc": {"path": "'$newest_runc'"}'
	fi
	cat >"$configuration" <<-END
	{
		"hosts": ["$docker_host"],
		"data-root": "$data",
		"exec-root": "$exec_root",
		"pidfile": "$exec_root/docker.pid",
		"containerd": "$containerd_socket",
		"bridge": "$bridge",
		"default-address-pools": [{"base": "$pool", "size": 26}],
		"iptables": false,
		"ip6tables": false,
		"ip-forward": false,
		"ip-masq": false,
		"runtimes": {${runtimes#, }},
		"default-runtime": "$default"${CAPMON_DAEMON_JSON:+, $CAPMON_DAEMON_JSON}
	}
	END
	# By default dockerd uses a containerd of the host, in the namespace of the host's
	# daemon. So this script starts a private containerd first.
	cat >"$containerd_configuration" <<-END
	version = 2
	root = "$data/containerd-root"
	state = "$exec_root/containerd-state"
	disabled_plugins = ["io.containerd.grpc.v1.cri"]
	[grpc]
	address = "$containerd_socket"
	END
}

need() {
	command -v "$1" >/dev/null || die "$1 not found: run scripts/setup.sh"
}

# await NAME PID LOG TEST... repeats TEST for at most 30 seconds. It fails as soon as the
# process has ended.
await() {
	local name=$1 pid=$2 its_log=$3 i
	shift 3
	for ((i = 0; i < 300; i++)); do
		if "$@"; then return; fi
		if ! kill -0 "$pid" 2>/dev/null; then break; fi
		sleep 0.1
	done
	echo "dockerd.sh: $name did not start${complaint:+ ($complaint)}; the end of $its_log:" >&2
	tail -n 15 "$its_log" | sed 's/^/    /' >&2
	stop || true
	exit 2
}

start() {
	local dockerd=${CAPMON_DOCKERD:-dockerd}
	if [[ $(id -u) != 0 ]]; then die "starting a Docker daemon needs root: run this script as root"; fi
	for program in "$dockerd" containerd runc docker ip flock; do need "$program"; done
	complaint=
	# Only one start at a time: two starts must not choose the same addresses or start the
	# same daemon twice.
	exec 9>/run/capmon-dockerd.lock
	flock 9
	if [[ -n $(daemon_pid) ]]; then
		if answers; then
			exec 9>&-
			echo "$docker_host"
			return
		fi
		die "a daemon runs in $dir but does not answer ($complaint): run dockerd.sh stop $dir"
	fi
	mkdir -p "$dir"
	stop # removes what a killed daemon left
	mkdir -p "$data" "$exec_root"
	make_bridge
	write_configuration

	# With setsid, a Ctrl-C for COMMAND does not reach the daemons. They also must not have
	# this script's stdout open, because $(dockerd.sh start ...) waits until it is closed.
	setsid containerd --config "$containerd_configuration" >"$containerd_log" 2>&1 </dev/null 9>&- &
	await containerd $! "$containerd_log" test -S "$containerd_socket"
	setsid "$dockerd" --config-file "$configuration" >"$log" 2>&1 </dev/null 9>&- &
	await dockerd $! "$log" answers
	exec 9>&-
	echo "$docker_host"
}

# end PID... sends SIGTERM, waits, and sends SIGKILL after 30 seconds.
end() {
	local pid i
	for pid in "$@"; do
		kill "$pid" 2>/dev/null || true
		for ((i = 0; i < 300; i++)); do
			if ! kill -0 "$pid" 2>/dev/null; then continue 2; fi
			sleep 0.1
		done
		echo "dockerd.sh: process $pid ignores SIGTERM, killing it" >&2
		kill -KILL "$pid" 2>/dev/null || true
		sleep 0.5
	done
}

# stop also runs at the beginning of start. Each step does nothing if there is nothing to do.
stop() {
	local ids mount daemon shim link
	daemon=$(daemon_pid)
	if [[ -n $daemon ]] && answers; then
		# A shell that is the first process of its container ignores SIGTERM: stopping it would take ten seconds.
		mapfile -t ids < <(DOCKER_HOST=$docker_host docker ps -q)
		if ((${#ids[@]} > 0)); then
			DOCKER_HOST=$docker_host docker kill "${ids[@]}" >/dev/null 2>&1 || true
		fi
	fi
	# shellcheck disable=SC2086,SC2046 # lists of ids
	{
		end $daemon
		# Shims continue after their daemon was killed, and containers continue after their shims.
		for shim in $(processes_with -address "$containerd_socket"); do
			kill -KILL $(cat "/proc/$shim/task/"*/children 2>/dev/null) "$shim" 2>/dev/null || true
		done
		end $(processes_with --config "$containerd_configuration")
	}
	# Unmount the innermost mounts first: roots of containers, handles of network namespaces.
	while read -r mount; do
		umount -l -- "$mount" 2>/dev/null || true
	done < <(awk -v dir="$dir/" 'index($5, dir) == 1 { print $5 }' /proc/self/mountinfo | sort -r)
	if [[ -e $block_file ]]; then
		# The bridges of the default network and of docker network create.
		for link in $(ip -4 -o address show to "$(<"$block_file")" type bridge | awk '{ print $2 }'); do
			ip link delete "$link" || true
		done
		pass --delete || true
	fi
	rm -rf --one-file-system -- "$exec_root"
	rm -f -- "$socket" "$containerd_socket" "$containerd_socket.ttrpc" "$block_file"
}

purge() {
	local name
	for name in data exec daemon.json containerd.toml docker.log containerd.log; do
		rm -rf --one-file-system -- "${dir:?}/$name"
	done
	rmdir -- "$dir" 2>/dev/null || true # fails if DIR has other files
}

# finish runs at the end of run, in all cases. Signals must not interrupt it.
finish() {
	trap "" INT TERM HUP
	stop
	if [[ -n $purging ]]; then purge; fi
}

# run COMMAND... exits with the exit code of COMMAND. It forwards signals to COMMAND.
# COMMAND runs in the background, because bash handles a signal only after a foreground
# command has ended.
run() {
	local code signal child
	trap finish EXIT
	trap 'exit 130' INT
	trap 'exit 143' TERM
	trap 'exit 129' HUP
	start >/dev/null
	exec 3<&0 # otherwise a background command gets /dev/null as stdin
	(
		trap - EXIT INT TERM HUP
		DOCKER_HOST=$docker_host exec "$@" <&3 3<&-
	) &
	child=$!
	exec 3<&-
	for signal in INT TERM HUP; do
		# shellcheck disable=SC2064 # expands the child's id now
		trap "kill -$signal $child 2>/dev/null || true" $signal
	done
	# A signal interrupts wait. bash keeps COMMAND's own exit code for the last wait.
	while kill -0 "$child" 2>/dev/null; do wait "$child" || true; done
	code=0
	wait "$child" || code=$?
	exit "$code"
}

command=${1:-} purging=
shift || usage
if [[ ${1:-} == --purge && $command != start ]]; then
	purging=1
	shift
fi
case $command in
start)
	[[ $# == 1 ]] || usage
	set_paths "$1"
	start
	;;
stop)
	[[ $# == 1 ]] || usage
	set_paths "$1"
	if [[ $(id -u) != 0 ]]; then die "stopping a Docker daemon needs root: run this script as root"; fi
	stop
	if [[ -n $purging ]]; then purge; fi
	;;
run)
	[[ $# -ge 3 && $2 == -- ]] || usage
	set_paths "$1"
	shift 2
	run "$@"
	;;
*) usage ;;
esac

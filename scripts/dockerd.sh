#!/bin/bash
# A private Docker daemon: beside the host's own, if there is one, and without
# touching it, its configuration or its firewall rules.
#
#   dockerd.sh start DIR                start it, print the value for DOCKER_HOST
#   dockerd.sh stop [--purge] DIR       stop it
#   dockerd.sh run [--purge] DIR -- COMMAND...
#                                       start it, run COMMAND with DOCKER_HOST set,
#                                       stop it, exit with COMMAND's code
#
# --purge deletes what it put into DIR, and DIR if nothing else is there.
# DIR holds everything: socket, images, log. Several daemons in several DIRs can
# run at once. Needs root. CAPMON_DOCKERD names another dockerd to start;
# CAPMON_DAEMON_JSON has more members for its daemon.json, separated by commas.
set -euo pipefail

scripts=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
newest_runc=$(dirname "$scripts")/.cache/bin/runc # setup.sh builds it
# Debian keeps dockerd, ip and runc in sbin, which su and some CI runners leave out.
PATH=$PATH:/usr/local/sbin:/usr/sbin:/sbin

die() {
	echo "dockerd.sh: $*" >&2
	exit 2
}

usage() {
	sed -n '2,/^set -/s/^# \{0,1\}//p' "${BASH_SOURCE[0]}" >&2
	exit 2
}

# set_paths DIR fills in the names of everything that belongs to the daemon in DIR.
set_paths() {
	dir=$(realpath -m -- "$1")
	if [[ ! $dir =~ ^[A-Za-z0-9/._+-]+$ ]]; then die "$dir: letters, digits and /._+- only, please"; fi
	socket=$dir/docker.sock
	docker_host=unix://$socket
	data=$dir/data
	exec_root=$dir/exec
	log=$dir/docker.log
	containerd_socket=$dir/containerd.sock
	configuration=$dir/daemon.json
	containerd_configuration=$dir/containerd.toml
	containerd_log=$dir/containerd.log
	block_file=$dir/addresses # the block of addresses that the daemon was given
	hash=$(printf %s "$dir" | sha256sum)
	bridge=capmon-${hash:0:8} # 15 bytes: the kernel takes no longer name

	# sun_path has 108 bytes with the closing NUL; libnetwork's is the longest of
	# the daemon's own sockets.
	local longest=$exec_root/libnetwork/0123456789ab.sock limit=107
	if ((${#longest} > limit)); then
		die "$dir is too long for a unix socket below it: at most $((${#dir} - ${#longest} + limit)) bytes"
	fi
}

# processes_with OPTION VALUE prints the ids of the processes that have these two
# arguments in a row. Unlike a pid file that is true from the first moment, so that
# an interrupted start leaves nothing behind, and never names a process of others.
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

# answers tells whether the daemon's API is up; what it complains about is in $complaint.
answers() {
	complaint=$(DOCKER_HOST=$docker_host docker version --format '{{.Server.Version}}' 2>&1 >/dev/null)
}

to_number() {
	local a b c d
	IFS=. read -r a b c d <<<"$1"
	echo $((a << 24 | b << 16 | c << 8 | d))
}

# free_block prints an unused /20 in the private address ranges: "172.20 16" means
# 172.20.16.0/20. Where the search starts depends on DIR, so that a daemon tends to
# keep its addresses.
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
	die "no free /20 in the private address ranges: see ip -4 route show table all"
}

# make_bridge creates the default network's bridge and sets $pool, the addresses
# for docker network create.
make_bridge() {
	local prefix third
	read -r prefix third < <(free_block)
	[[ -n $third ]] || exit 2
	echo "$prefix.$third.0/20" >"$block_file"
	ip link add "$bridge" type bridge || die "creating bridge $bridge failed: is NET_ADMIN missing?"
	ip address add "$prefix.$third.1/24" dev "$bridge"
	ip link set "$bridge" up
	pool=$prefix.$((third + 8)).0/21
	# With br_netfilter the host's firewall also sees what passes from container to
	# container on one bridge, and the host's own Docker makes it drop that.
	if [[ $(cat /proc/sys/net/bridge/bridge-nf-call-iptables 2>/dev/null) == 1 ]] && command -v iptables >/dev/null; then
		pass --insert || true
	fi
}

# pass --insert and pass --delete: the one firewall rule, for the daemon's own block.
pass() {
	local block
	block=$(<"$block_file")
	iptables "$1" FORWARD --source "$block" --destination "$block" --jump ACCEPT 2>/dev/null
}

write_configuration() {
	# The host's /etc/docker/daemon.json must not apply, so there is one of our own.
	# dockerd itself makes no firewall rules: its chains have fixed names, and a second
	# daemon would rewrite those of the first. Containers reach each other and the host,
	# not the world.
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
	# Left to itself dockerd joins a containerd of the host's, in the host's
	# daemon's namespace: so a containerd of our own is started first.
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

# await NAME PID LOG TEST... polls TEST for at most half a minute and gives up as
# soon as the process has gone.
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
	if [[ $(id -u) != 0 ]]; then die "starting a Docker daemon needs root"; fi
	for program in "$dockerd" containerd runc docker ip flock; do need "$program"; done
	complaint=
	# One at a time: two starts must not choose the same addresses, nor start the same
	# daemon twice.
	exec 9>/run/capmon-dockerd.lock
	flock 9
	if [[ -n $(daemon_pid) ]]; then
		if answers; then
			exec 9>&-
			echo "$docker_host"
			return
		fi
		die "a daemon runs in $dir but does not answer ($complaint): dockerd.sh stop $dir"
	fi
	mkdir -p "$dir"
	stop # what a killed daemon left behind
	mkdir -p "$data" "$exec_root"
	make_bridge
	write_configuration

	# setsid lets a Ctrl-C meant for COMMAND spare them; they must also do
	# without our stdout, for whose end $(dockerd.sh start ...) waits.
	setsid containerd --config "$containerd_configuration" >"$containerd_log" 2>&1 </dev/null 9>&- &
	await containerd $! "$containerd_log" test -S "$containerd_socket"
	setsid "$dockerd" --config-file "$configuration" >"$log" 2>&1 </dev/null 9>&- &
	await dockerd $! "$log" answers
	exec 9>&-
	echo "$docker_host"
}

# end PID... asks processes to end, waits, and insists after half a minute.
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

# stop is also what start begins with: each step does nothing if there is nothing to do.
stop() {
	local ids mount daemon shim link
	daemon=$(daemon_pid)
	if [[ -n $daemon ]] && answers; then
		# Shells as first process ignore SIGTERM and would cost ten seconds each.
		mapfile -t ids < <(DOCKER_HOST=$docker_host docker ps -q)
		if ((${#ids[@]} > 0)); then
			DOCKER_HOST=$docker_host docker kill "${ids[@]}" >/dev/null 2>&1 || true
		fi
	fi
	# shellcheck disable=SC2086,SC2046 # lists of ids
	{
		end $daemon
		# Shims outlive a daemon that was killed, and containers outlive their shims.
		for shim in $(processes_with -address "$containerd_socket"); do
			kill -KILL $(cat "/proc/$shim/task/"*/children 2>/dev/null) "$shim" 2>/dev/null || true
		done
		end $(processes_with --config "$containerd_configuration")
	}
	# Innermost mounts first: a container's root, a network namespace's handle.
	while read -r mount; do
		umount -l -- "$mount" 2>/dev/null || true
	done < <(awk -v dir="$dir/" 'index($5, dir) == 1 { print $5 }' /proc/self/mountinfo | sort -r)
	if [[ -e $block_file ]]; then
		# The default network's bridge and those of docker network create.
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
	rmdir -- "$dir" 2>/dev/null || true # not ours alone if anything else is in it
}

# finish is the end of run, however it comes about: nothing may interrupt it.
finish() {
	trap "" INT TERM HUP
	stop
	if [[ -n $purging ]]; then purge; fi
}

# run COMMAND... Its exit code is ours. A signal is passed on to COMMAND, which
# therefore runs in the background: bash would handle it only after the end of a
# foreground command.
run() {
	local code signal child
	trap finish EXIT
	trap 'exit 130' INT
	trap 'exit 143' TERM
	trap 'exit 129' HUP
	start >/dev/null
	exec 3<&0 # background commands get /dev/null as stdin otherwise
	(
		trap - EXIT INT TERM HUP
		DOCKER_HOST=$docker_host exec "$@" <&3 3<&-
	) &
	child=$!
	exec 3<&-
	for signal in INT TERM HUP; do
		# shellcheck disable=SC2064 # the child's id is that of now
		trap "kill -$signal $child 2>/dev/null || true" $signal
	done
	# A signal cuts wait short; bash keeps COMMAND's own code for the last wait.
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
	if [[ $(id -u) != 0 ]]; then die "stopping a Docker daemon needs root"; fi
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

#!/bin/bash
# Starts a private containerd of root, in a network of its own. The script does not change
# the containers, images and configuration of the host's containerd.
#
#   containerd.sh start DIR [PAUSE]
#                             start it, and print the command that runs its ctr. With the
#                             image PAUSE for the sandboxes of pods, it has the CRI of
#                             Kubernetes
#   containerd.sh stop DIR    remove its containers, stop it and remove all its files, and
#                             DIR if nothing else is in it
#
# DIR has everything: the socket containerd.sock, the command, the images, the containers.
# Only the sockets of the shims are in /run/containerd/s. The script needs root. If
# CAPMON_CONTAINERD is a directory with another containerd, its shim and its ctr, the script
# uses these.
set -euo pipefail

# shellcheck source=scripts/private-engine.sh
source "$(dirname "${BASH_SOURCE[0]}")/private-engine.sh"
if [[ -n ${CAPMON_CONTAINERD:-} ]]; then PATH=$(realpath -- "$CAPMON_CONTAINERD"):$PATH; fi

# set_paths DIR sets the paths of the containerd in DIR.
set_paths() {
	set_directory "$1" 80
	socket=$dir/containerd.sock
	network=$dir/net
	ctr=$dir/ctr
}

write_configuration() {
	local disabled='"io.containerd.internal.v1.opt"'
	if [[ -z $pause ]]; then disabled+=', "io.containerd.grpc.v1.cri"'; fi
	cat >"$dir/containerd.toml" <<-END
	version = 2
	root = "$dir/root"
	state = "$dir/state"
	disabled_plugins = [$disabled]
	[grpc]
	address = "$socket"
	[ttrpc]
	address = "$socket.ttrpc"
	END
	if [[ -n $pause ]]; then
		cat >>"$dir/containerd.toml" <<-END
		[plugins."io.containerd.grpc.v1.cri"]
		sandbox_image = "$pause"
		disable_apparmor = true
		restrict_oom_score_adj = true
		stream_server_address = "127.0.0.1"
		stream_server_port = "0"
		[plugins."io.containerd.grpc.v1.cri".cni]
		conf_dir = "$dir/cni"
		END
	fi
	cat >"$ctr" <<-END
	#!/bin/sh
	exec $(type -P ctr) --address $socket "\$@"
	END
	chmod +x "$ctr"
}

answers() {
	"$ctr" --connect-timeout 1s version >/dev/null 2>&1
}

start_daemon() {
	local program
	if [[ $(id -u) != 0 ]]; then die "a private containerd needs root: run this script as root"; fi
	for program in containerd containerd-shim-runc-v2 ctr runc nsenter unshare mountpoint ip; do need "$program"; done
	mkdir -p "$dir"
	write_configuration
	if ! answers; then
		if ! mountpoint -q "$network"; then # containerd may have ended, and containers may still run
			touch "$network"
			unshare --net="$network" ip link set lo up
		fi
		setsid nsenter --net="$network" containerd --config "$dir/containerd.toml" \
			>"$dir/containerd.log" 2>&1 </dev/null &
		echo $! >"$dir/containerd.pid"
		await_answer containerd "$dir/containerd.log"
	fi
	echo "$ctr"
}

# remove_containers NAMESPACE removes all containers, and kills their processes.
remove_containers() {
	local id i
	for id in $("$ctr" -n "$1" containers list -q); do
		for ((i = 0; i < 25; i++)); do
			"$ctr" -n "$1" tasks kill -a -s SIGKILL "$id" || true
			"$ctr" -n "$1" tasks rm -f "$id" || true
			if "$ctr" -n "$1" containers rm "$id"; then break; fi
			sleep 0.2
		done
	done
}

stop_daemon() {
	local namespace
	if [[ -x $ctr ]] && answers; then
		for namespace in $("$ctr" namespaces list -q); do
			remove_containers "$namespace" >/dev/null 2>&1
		done
	fi
	end_process "$dir/containerd.pid" "--config $dir/containerd.toml"
	unmount_all
	rm -rf --one-file-system -- "${dir:?}"/{root,state,net,cni,ctr,containerd.sock,containerd.sock.ttrpc,containerd.toml,containerd.log,containerd.pid}
	rmdir -- "$dir" 2>/dev/null || true # fails if DIR has other files
}

(($# == 2)) || [[ $# == 3 && $1 == start ]] || usage
set_paths "$2"
pause=${3:-}
case $1 in
start) start_daemon ;;
stop) stop_daemon ;;
*) usage ;;
esac

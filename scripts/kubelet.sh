#!/bin/bash
# Starts a kubelet without an API server, on the containerd that containerd.sh started in
# DIR with the CRI of Kubernetes. The kubelet runs the static pods of a directory.
#
#   kubelet.sh start DIR    start it, and print the directory for the manifests of pods
#   kubelet.sh stop DIR     remove its pods, stop it and remove its files. containerd.sh stop
#                           DIR then removes what is left of the containers
#
# The kubelet has a mount namespace and a cgroup of its own, and the network of the
# containerd: it changes no settings, no other cgroups and no files of the host outside DIR.
# Pods use the network of the containerd as well (hostNetwork: true). The command of the
# kubelet is $CAPMON_KUBELET (default: kubelet). The script needs root.
set -euo pipefail

# shellcheck source=scripts/private-engine.sh
source "$(dirname "${BASH_SOURCE[0]}")/private-engine.sh"

kubelet=${CAPMON_KUBELET:-kubelet}

# settings are what the kubelet wants of the kernel: NAME VALUE.
settings='vm/overcommit_memory 1
vm/panic_on_oom 0
kernel/panic 10
kernel/panic_on_oops 1
kernel/keys/root_maxkeys 1000000
kernel/keys/root_maxbytes 25000000'

# set_paths DIR sets the paths of the kubelet on the containerd in DIR.
set_paths() {
	set_directory "$1" 80
	files=$dir/kubelet
	manifests=$files/manifests
	cgroup=capmon-kubelet-$(basename "$dir")
	mapfile -t hierarchies < <(awk '$5 ~ "^/sys/fs/cgroup(/|$)" && / - cgroup2? / { print $5 }' /proc/self/mountinfo)
}

# write_configuration writes the configuration. The kubelet does not evict pods or remove
# images if the disk is full, and does not change the limits of processes, for which root of
# a container may lack the capability SYS_RESOURCE.
write_configuration() {
	mkdir -p "$manifests"
	cat >"$files/config.yaml" <<-END
	apiVersion: kubelet.config.k8s.io/v1beta1
	kind: KubeletConfiguration
	containerRuntimeEndpoint: unix://$dir/containerd.sock
	staticPodPath: $manifests
	podLogsDir: $files/logs
	volumePluginDir: $files/plugins
	resolvConf: ""
	address: 127.0.0.1
	authentication: {anonymous: {enabled: true}, webhook: {enabled: false}}
	authorization: {mode: AlwaysAllow}
	makeIPTablesUtilChains: false
	protectKernelDefaults: true
	failSwapOn: false
	failCgroupV1: false
	cgroupDriver: cgroupfs
	cgroupRoot: /$cgroup
	enforceNodeAllocatable: [none]
	oomScoreAdj: 0
	maxOpenFiles: $(ulimit -Hn | sed 's/unlimited/1000000/')
	evictionHard: {memory.available: 0%, nodefs.available: 0%, nodefs.inodesFree: 0%, imagefs.available: 0%}
	imageGCHighThresholdPercent: 100
	END
}

# run_kubelet runs in the new mount namespace. The kubelet finds the settings that it wants,
# and empty directories where it would leave files on the host.
run_kubelet() {
	local setting value
	unmount_others
	mkdir -p "$files/settings"
	while read -r setting value; do
		echo "$value" >"$files/settings/${setting//\//-}"
		mount --bind "$files/settings/${setting//\//-}" "/proc/sys/$setting"
	done <<<"$settings"
	mount -t tmpfs tmpfs /var/lib
	mount -t tmpfs tmpfs /var/log
	exec "$kubelet" --config="$files/config.yaml" --root-dir="$files/root" --cert-dir="$files/certificates" --hostname-override=node
}

answers() {
	nsenter --net="$dir/net" bash -c 'exec 3<>/dev/tcp/127.0.0.1/10248 &&
		printf "GET /healthz HTTP/1.0\r\n\r\n" >&3 && grep -q "200 OK" <&3' 2>/dev/null
}

start_kubelet() {
	local program directory
	if [[ $(id -u) != 0 ]]; then die "a kubelet needs root: run this script as root"; fi
	for program in "$kubelet" nsenter unshare; do need "$program"; done
	if [[ ! -S $dir/containerd.sock ]]; then die "no containerd in $dir: run scripts/containerd.sh start $dir PAUSE"; fi
	if ! answers; then
		for directory in "${hierarchies[@]}"; do mkdir -p "$directory/$cgroup"; done
		write_configuration
		setsid nsenter --net="$dir/net" unshare --mount --propagation private "${BASH_SOURCE[0]}" run "$dir" \
			>"$files/log" 2>&1 </dev/null &
		echo $! >"$files/pid"
		await_answer kubelet "$files/log"
	fi
	echo "$manifests"
}

# remove_pods removes the manifests, and waits until the kubelet has ended the containers.
remove_pods() {
	local i
	rm -f -- "$manifests"/*
	for ((i = 0; i < 300; i++)); do
		if [[ $("$dir/ctr" -n k8s.io tasks list -q 2>/dev/null) == "" ]]; then return; fi
		sleep 0.2
	done
	echo "kubelet.sh: pods in $dir did not end" >&2
}

stop_kubelet() {
	local directory
	if answers; then remove_pods; fi
	end_process "$files/pid" "--config=$files/config.yaml"
	for directory in "${hierarchies[@]}"; do
		find "$directory/$cgroup" -depth -type d -exec rmdir {} \; 2>/dev/null || true # fails if a container is left
	done
	rm -rf --one-file-system -- "${files:?}"
}

[[ $# == 2 ]] || usage
set_paths "$2"
case $1 in
start) start_kubelet ;;
stop) stop_kubelet ;;
run) run_kubelet ;;
*) usage ;;
esac

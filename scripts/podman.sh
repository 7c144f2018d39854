#!/bin/bash
# Makes a private podman of root. Podman has no daemon, so the script starts nothing. The
# script does not change the containers, images and configuration of the host's podman.
#
#   podman.sh make DIR      print the command that runs the private podman
#   podman.sh remove DIR    remove its containers and all its files, and DIR if nothing else
#                           is in it
#
# DIR has everything: the command, the images, the containers. Its path has at most 50
# bytes, which is the limit of podman. The containers use the network of the private
# podman, which has only a loopback interface. The script needs root. If CAPMON_PODMAN is a
# directory with the programs of another release (scripts/setup.sh podman), podman and all
# that it runs come from there.
set -euo pipefail

# shellcheck source=scripts/private-engine.sh
source "$(dirname "${BASH_SOURCE[0]}")/private-engine.sh"

# set_paths DIR sets the paths of the podman in DIR.
set_paths() {
	set_directory "$1" 50
	namespaces=$dir/ns
	podman=$dir/podman
	programs=${CAPMON_PODMAN:+$(realpath -- "$CAPMON_PODMAN")}
}

# make_namespaces makes a network and a mount namespace, and binds them to files.
make_namespaces() {
	mkdir -p "$namespaces"
	mount --bind "$namespaces" "$namespaces" # the file of a mount namespace must be in a private mount
	mount --make-private "$namespaces"
	touch "$namespaces/net" "$namespaces/mnt"
	unshare --net="$namespaces/net" ip link set lo up
	unshare --mount="$namespaces/mnt" --propagation private "${BASH_SOURCE[0]}" inside "$dir"
}

# inside runs in the new mount namespace. With cgroup v1, it mounts only the hierarchies that
# exist: podman also tries the directories of others in /sys/fs/cgroup.
inside() {
	unmount_others
	if [[ $(stat -f -c %T /sys/fs/cgroup) != cgroup2fs ]]; then mount_hierarchies; fi
	if [[ -n $programs ]]; then enter_programs; fi
}

mount_hierarchies() {
	local mount
	mkdir -p "$dir/cgroup"
	mount -t tmpfs -o mode=755 cgroup "$dir/cgroup"
	while read -r mount; do
		mkdir -p "$dir/cgroup/${mount#/sys/fs/cgroup/}"
		mount --bind "$mount" "$dir/cgroup/${mount#/sys/fs/cgroup/}"
	done < <(awk '$5 ~ "^/sys/fs/cgroup/" && / - cgroup2? / { print $5 }' /proc/self/mountinfo)
	mount --move "$dir/cgroup" /sys/fs/cgroup
}

# enter_programs makes the directory $programs the root of the mount namespace. The
# directories that do not have programs are those of the host.
enter_programs() {
	local name
	mount --bind "$programs" "$programs"
	mount -o remount,bind,ro "$programs"
	mount -t tmpfs -o mode=755 var "$programs/var"
	mkdir "$programs/var/tmp"
	for name in dev proc run sys tmp var/tmp; do mount --rbind "/$name" "$programs/$name"; done
	mount --bind "$dir" "$programs$dir"
	cd "$programs"
	pivot_root . mnt
	exec umount --lazy /mnt # of the other release
}

# write_configuration writes the configuration, which replaces that of the host. podman's
# default limits are higher than some hosts allow. crun does not accept all versions of
# cgroups.
write_configuration() {
	cat >"$dir/containers.conf" <<-END
	[containers]
	default_ulimits = ["nofile=1024:1024", "nproc=1024:1024"]
	netns = "none"
	[engine]
	cgroup_manager = "cgroupfs"
	events_logger = "file"
	runtime = "runc"
	END
	cat >"$podman" <<-END
	#!/bin/sh
	export CONTAINERS_CONF=$dir/containers.conf PODMAN_IGNORE_CGROUPSV1_WARNING=1
	exec nsenter --net=$namespaces/net --mount=$namespaces/mnt podman \\
		--root $dir/root --runroot $dir/run --tmpdir $dir/tmp "\$@"
	END
	chmod +x "$podman"
}

make_podman() {
	local program
	if [[ $(id -u) != 0 ]]; then die "a private podman needs root: run this script as root"; fi
	for program in nsenter unshare ip pivot_root; do need "$program"; done
	if [[ -z $programs ]]; then
		for program in podman conmon catatonit runc; do need "$program"; done
	elif [[ ! -x $programs/usr/bin/podman ]]; then
		die "no podman in $programs: run scripts/setup.sh podman"
	fi
	if [[ ! -e $namespaces/mnt ]]; then
		mkdir -p "$dir"
		make_namespaces
	fi
	write_configuration
	echo "$podman"
}

remove_files() {
	rm -rf --one-file-system -- "${dir:?}"/{root,run,tmp,ns,cgroup,podman,containers.conf}
}

remove_podman() {
	local i
	if [[ -x $podman && -e $namespaces/mnt ]]; then
		"$podman" pod rm --all --force --time 0 >/dev/null 2>&1 || true
		"$podman" rm --all --force --time 0 >/dev/null 2>&1 || true
	fi
	umount -l "$namespaces/net" "$namespaces/mnt" "$namespaces" 2>/dev/null || true
	unmount_all
	for ((i = 0; ; i++)); do # podman can still write files about containers that have just ended
		if remove_files; then break; fi
		if ((i == 20)); then die "removing the files in $dir failed"; fi
		sleep 0.5
	done
	rmdir -- "$dir" 2>/dev/null || true # fails if DIR has other files
}

[[ $# == 2 ]] || usage
set_paths "$2"
case $1 in
make) make_podman ;;
remove) remove_podman ;;
inside) inside ;;
*) usage ;;
esac

# shellcheck shell=bash
# What podman.sh, containerd.sh and kubelet.sh have in common. They source this file.

PATH=$PATH:/usr/local/sbin:/usr/sbin:/sbin

die() {
	echo "${0##*/}: $*" >&2
	exit 2
}

# usage prints the comment at the start of the script.
usage() {
	sed -n '2,/^set -/s/^# \{0,1\}//p' "$0" >&2
	exit 2
}

need() {
	command -v "$1" >/dev/null || die "$1 not found: run scripts/setup.sh"
}

# set_directory DIR BYTES sets $dir, whose path may have this number of bytes.
set_directory() {
	dir=$(realpath -m -- "$1")
	if [[ ! $dir =~ ^/[A-Za-z0-9/._+-]+$ ]]; then die "invalid directory $dir: use only letters, digits and /._+-"; fi
	if ((${#dir} > $2)); then die "directory $dir is too long: use at most $2 bytes"; fi
}

# await_answer NAME LOG waits until the function answers succeeds.
await_answer() {
	local i
	for ((i = 0; i < 150; i++)); do
		if answers; then return; fi
		sleep 0.2
	done
	cat "$2" >&2
	die "$1 in $dir does not answer"
}

# end_process FILE ARGUMENTS ends the process whose ID is in FILE, if its arguments contain ARGUMENTS.
end_process() {
	local pid i
	pid=$(cat "$1" 2>/dev/null || true)
	if [[ -z $pid || $(tr '\0' ' ' 2>/dev/null <"/proc/$pid/cmdline") != *" $2 "* ]]; then return; fi
	kill "$pid"
	for ((i = 0; i < 100; i++)); do
		if ! kill -0 "$pid" 2>/dev/null; then break; fi
		sleep 0.1
	done
}

# unmount_all unmounts what is mounted below $dir, the innermost mounts first.
unmount_all() {
	local mount
	while read -r mount; do
		umount -l -- "$mount" 2>/dev/null || true
	done < <(awk -v dir="$dir/" 'index($5, dir) == 1 { print $5 }' /proc/self/mountinfo | sort -r)
}

# unmount_others unmounts what belongs to other engines, in a new mount namespace. Otherwise these engines could not
# remove it.
unmount_others() {
	local mount
	while read -r mount; do
		umount -l -- "$mount" 2>/dev/null || true
	done < <(awk '/ - (overlay|nsfs) / && $5 != "/" { print $5 }' /proc/self/mountinfo | sort -r)
}

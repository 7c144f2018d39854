# shellcheck shell=bash
# What podman.sh and containerd.sh have in common. They source this file.

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

# unmount_all unmounts what is mounted below $dir, the innermost mounts first.
unmount_all() {
	local mount
	while read -r mount; do
		umount -l -- "$mount" 2>/dev/null || true
	done < <(awk -v dir="$dir/" 'index($5, dir) == 1 { print $5 }' /proc/self/mountinfo | sort -r)
}

#!/bin/bash
# Makes the image for the demo and the tests, without a registry: the daemon of
# DOCKER_HOST imports it from an archive with the host's busybox.
#
#   images.sh [all]   bb:latest with busybox, users, files and /bin/probe; needs gcc
#                     and, for a file capability, root
#   images.sh demo    bb:latest with busybox and users, if there is no bb:latest yet
#   images.sh programs ARCH DIR
#                     compiles the programs of bb:latest for amd64 or arm64, into DIR
#
# The script does nothing for an image that already exists with the same contents. If
# CAPMON_PROGRAMS is a directory with the compiled programs, gcc is not needed.
set -euo pipefail

scripts=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
cache=$(dirname "$scripts")/.cache/images
label=com.github.capmon.contents

die() {
	echo "images.sh: $*" >&2
	exit 2
}

need() {
	command -v "$1" >/dev/null || die "$1 not found: run scripts/setup.sh"
}

# static_busybox prints the path of a statically linked busybox.
static_busybox() {
	local path
	path=$(command -v busybox) || die "busybox not found: run scripts/setup.sh"
	if ldd "$path" 2>/dev/null | grep -qF '=>'; then
		die "$path is not statically linked: install busybox-static"
	fi
	echo "$path"
}

# imported NAME prints the contents label of the image. It prints nothing if there is no such image.
imported() {
	docker image inspect --format "{{index .Config.Labels \"$label\"}}" "$1" 2>/dev/null || true
}

# pack FILE OPTION... PATH... adds paths of the tree to the archive. tar sets the owners in
# the archive, not on the files, so this does not need root.
pack() {
	local archive=$1
	shift
	tar --append --file "$archive" --directory "$tree" --no-recursion \
		--xattrs --xattrs-include=security.capability \
		--sort=name --mtime=@0 --numeric-owner "$@"
}

# base_tree makes the directory tree of both variants.
base_tree() {
	local busybox=$1 applet
	mkdir -p "$tree"/{bin,data,dev,etc,mnt,proc,root,sys,tmp,sgid,home/user}
	cp "$busybox" "$tree/bin/busybox"
	for applet in $("$busybox" --list); do
		if [[ $applet != busybox ]]; then ln -s busybox "$tree/bin/$applet"; fi
	done
	cat >"$tree/etc/passwd" <<-END
		root:x:0:0:root:/root:/bin/sh
		user:x:1000:1000:user:/home/user:/bin/sh
		other:x:1001:5:other:/:/bin/sh
	END
	cat >"$tree/etc/group" <<-END
		root:x:0:
		tty:x:5:
		user:x:1000:
	END
	# These accounts have no password. root does not need one for su.
	cat >"$tree/etc/shadow" <<-END
		root:*:19000:0:99999:7:::
		user:*:19000:0:99999:7:::
		other:*:19000:0:99999:7:::
	END
	chmod -R u=rwX,go=rX "$tree"
	chmod 755 "$tree/bin/busybox"
	chmod 600 "$tree/etc/shadow"
	chmod 700 "$tree/root"
	chmod 1777 "$tree/tmp"
}

# compile ARCH DIR compiles static programs from workloads/*.c.
compile() {
	local compiler=gcc source library
	if [[ $1 != "$(dpkg --print-architecture)" ]]; then
		case $1 in
		amd64) compiler=x86_64-linux-gnu-gcc ;;
		arm64) compiler=aarch64-linux-gnu-gcc ;;
		*) die "unknown architecture $1: use amd64 or arm64" ;;
		esac
	fi
	need "$compiler"
	for source in "$scripts"/workloads/*.c; do
		library=(-pthread)
		if [[ $source == */attack-interpreter.c ]]; then library=(-nostdlib -fno-stack-protector); fi
		"$compiler" -static -s -O2 -Wall -Werror "${library[@]}" -o "$2/$(basename "$source" .c)" "$source"
	done
}

make_bb() {
	local variant=$1 busybox contents archive programs
	busybox=$(static_busybox)
	contents=$variant-$(cat "${BASH_SOURCE[0]}" "$scripts"/workloads/*.[ch] "$busybox" | sha256sum | head -c 16)
	case $(imported bb:latest) in
	"$contents") return ;;
	all-*) if [[ $variant == demo ]]; then return; fi ;;
	esac

	if [[ $variant == all && $(id -u) != 0 ]]; then die "setting a file capability needs root: run this script as root"; fi
	mkdir -p "$cache"
	tree=$(mktemp -d "$cache/tree.XXXXXX")
	trap 'rm -rf -- "$tree" "$tree.tar" "$tree.programs"' EXIT
	archive=$tree.tar
	base_tree "$busybox"
	if [[ $variant == all ]]; then
		programs=${CAPMON_PROGRAMS:-$tree.programs}
		if [[ -z ${CAPMON_PROGRAMS:-} ]]; then
			mkdir "$programs"
			compile "$(dpkg --print-architecture)" "$programs"
		fi
		cp "$programs/probe" "$tree/bin/probe"
		cp "$programs"/attack-* "$tree/bin" # each attacks capmon, see docs/threats.md
		# Without the capability in the bounding set, this program cannot be executed, whether it uses the capability or not.
		cp "$tree/bin/probe" "$tree/bin/probe-bind"
		setcap cap_net_bind_service=+ep "$tree/bin/probe-bind"
		# This program has to raise the capability itself with capset.
		cp "$tree/bin/probe" "$tree/bin/probe-raw"
		setcap cap_net_raw=p "$tree/bin/probe-raw"
		# An entrypoint and a file that root can use only with CAP_DAC_OVERRIDE.
		cp "$programs/true" "$tree/bin/private-true"
		chmod 700 "$tree/bin/private-true"
		echo secret >"$tree/data/secret"
		chmod 600 "$tree/data/secret"
		chmod 2777 "$tree/sgid"
	fi

	tar --create --file "$archive" --files-from /dev/null
	(cd "$tree" && find . ! -path ./bin/private-true ! -path './data/*' ! -path ./sgid ! -path './home/user') |
		pack "$archive" --owner=0 --group=0 --files-from -
	pack "$archive" --owner=1000 --group=1000 ./home/user
	pack "$archive" --owner=0 --group=5 ./sgid
	if [[ $variant == all ]]; then
		pack "$archive" --owner=1000 --group=1000 ./bin/private-true ./data/secret
	fi
	docker import \
		--change 'CMD ["/bin/sh"]' \
		--change 'ENV PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin' \
		--change "LABEL $label=$contents" \
		"$archive" bb:latest >/dev/null
	echo "images.sh: imported bb:latest" >&2
}

case ${1:-all}-$# in
all-[01] | demo-1)
	need docker
	make_bb "${1:-all}"
	;;
programs-3) compile "$2" "$3" ;;
*)
	sed -n '2,/^set -/s/^# \{0,1\}//p' "${BASH_SOURCE[0]}" >&2
	exit 2
	;;
esac

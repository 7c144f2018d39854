#!/bin/bash
# Runs a command in a virtual machine (a guest) with its own kernel, userland, cgroups and
# processor. Everything comes from Debian's packages, and nothing from this host.
#
#   vm.sh guests                       list the guests
#   vm.sh arch GUEST                   print a guest's architecture, as Go calls it
#   vm.sh recipe GUEST                 print what a guest is made of; changes with the guest
#   vm.sh kernel GUEST                 print the directory of its kernel; fetch the kernel if necessary
#   vm.sh fetch GUEST                  fetch everything for the guest, if necessary
#   vm.sh run GUEST DIR COMMAND...     run COMMAND in a copy of DIR, which is /guest in the
#                                      guest; print its output, exit with its exit code
#   vm.sh unpack RELEASE DIR PACKAGE...
#                                      unpack packages of this release of Debian, and their
#                                      dependencies, into DIR, which must not exist
#
# A guest has one processor, no network, and the programs that Docker and its scripts need.
# All its changes to disks are discarded. The script does not use KVM, since most machines
# that run tests do not have it. QEMU also comes from a Debian package, but not from
# Debian 12: that QEMU emulates cmpxchg16b incorrectly, which makes kernels panic. The
# script exits with 2 if the guest ends before COMMAND does.
set -euo pipefail

scripts=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
cache=$(dirname "$scripts")/.cache/vm
PATH=$PATH:/usr/local/sbin:/usr/sbin:/sbin
limit=5400 # seconds after which a guest is killed

# Architecture, release, version and suite of the kernels, and a SHA-256 of their
# packages. These suites keep old versions. The cloud flavour has the drivers for the disk
# and its file system built in, so it boots without an initramfs.
kernels=(
	"amd64 5.10.0-46-cloud-amd64 5.10.262-1 bullseye-security 18d94781d1b3052e21967ac2262239e5f14fbf511d6c3e110629d7aa35340760"
	"amd64 6.1.0-50-cloud-amd64 6.1.176-1 bookworm efe19f605b6f54a8352e68d85a629abb2d30b72a085faef603a9152590baa791"
	"arm64 6.1.0-50-cloud-arm64 6.1.176-1 bookworm 9d41a53f5d687ae1a33cf546d0ed8be955f72e5f9e97b2b4e45e41dff3353b97"
	"amd64 6.12.95+deb12-cloud-amd64 6.12.95-1~bpo12+1 bookworm-backports 69c92f43b23821de79576fa4d7c86e2924ae2c1b247a47cc5ed9339e220fbcb7"
	"arm64 6.12.95+deb12-cloud-arm64 6.12.95-1~bpo12+1 bookworm-backports 3d1283d15afe078c9fa7a4de66d989fc7d84103912dc2792d5a85bfdb3eb88b5"
	"amd64 6.18.15+deb13-cloud-amd64 6.18.15-1~bpo13+1 trixie-backports 5a507681ea8c978d02265a7fec2f02c9588fb48b54b7f71edc1059e86007f3ec"
	"amd64 7.3.4+deb13-cloud-amd64 7.3.4-1~bpo13+1 trixie-backports 4edd1e3f9dd395af5aa0d83349d890a859b67707849644fab28b239483589762"
	"arm64 7.3.4+deb13-cloud-arm64 7.3.4-1~bpo13+1 trixie-backports f4a2c03d403037375e7688a1b317b1dfee04cc1b661686ff5086867406dc6609"
)

# Name, architecture, kernel, userland, first process and cgroups of the guests. The first
# process "init" is the script of write_init; with it, Docker makes cgroups itself.
guests=(
	"5.10 amd64 5.10 bookworm init v2"
	"6.1 amd64 6.1 bookworm init v2"
	"6.1-v1 amd64 6.1 bookworm init v1"
	"6.1-arm64 arm64 6.1 bookworm init v2"
	"6.12 amd64 6.12 bookworm init v2"
	"6.12-arm64 arm64 6.12 bookworm init v2"
	"6.12-systemd amd64 6.12 bookworm systemd v2"
	"6.12-systemd-hybrid amd64 6.12 bookworm systemd hybrid"
	"6.12-systemd-v1 amd64 6.12 bookworm systemd v1"
	"6.18 amd64 6.18 trixie init v2"
	"7.3 amd64 7.3 trixie init v2"
	"7.3-systemd amd64 7.3 trixie systemd v2"
	"7.3-arm64 arm64 7.3 trixie init v2"
)

# The packages of every userland, and the additional ones of each. apt adds their dependencies.
packages=(base-passwd bash busybox-static containerd coreutils crun dash dbus docker.io findutils grep
	iproute2 iptables jq kmod libcap2-bin mawk mount procps runc sed systemd systemd-sysv tar util-linux)
declare -A packages_of=([bookworm]="" [trixie]="docker-cli")

# The Debian release of QEMU, and the packages of QEMU.
emulator_release=trixie
emulator_packages=(qemu-system-arm qemu-system-x86)

die() {
	echo "vm.sh: $*" >&2
	exit 2
}

usage() {
	sed -n '2,/^set -/s/^# \{0,1\}//p' "${BASH_SOURCE[0]}" >&2
	exit 2
}

need() {
	command -v "$1" >/dev/null || die "$1 not found: run scripts/setup.sh"
}

names() {
	printf '%s\n' "${guests[@]}" | cut -d ' ' -f 1
}

# select_guest NAME sets $arch, $userland, $first, $cgroups, the kernel's $release,
# $version, $suite and $sum, and $kernel, the directory of the unpacked kernel.
select_guest() {
	local line name wanted
	for line in "${guests[@]}"; do
		read -r name arch wanted userland first cgroups <<<"$line"
		if [[ $name == "$1" ]]; then break; fi
	done
	[[ $name == "$1" ]] || die "unknown guest $1: use one of $(names | paste -sd ' ')"
	for line in "${kernels[@]}"; do
		if [[ $line == "$arch $wanted."* ]]; then break; fi
	done
	read -r _ release version suite sum <<<"$line"
	kernel=$cache/linux-$release
}

recipe() {
	set_root
	echo "$arch $release $version $sum $first $cgroups $root"
	declare -f boot make_disk
}

# mirror prints the URL of a Debian mirror, from the settings of this host's apt or of debootstrap.
mirror() {
	local uri
	# shellcheck disable=SC2016 # apt's variables
	uri=$(apt-get indextargets --format '$(ORIGIN) $(LABEL) $(REPO_URI)' | awk '$1 $2 == "DebianDebian" { print $3; exit }')
	if [[ -z $uri ]]; then uri=$(sed -n 's/^DEF_MIRROR="\(.*\)"/\1/p' "$(type -P debootstrap)"); fi
	[[ -n $uri ]] || die "found no Debian mirror: run scripts/setup.sh"
	echo "${uri%/}"
}

# use_apt RELEASE ARCH makes apt-get and apt-cache use that release of Debian, for a machine
# with nothing installed. Their package lists are in the cache.
use_apt() {
	local dir=$cache/apt/$1-$2 keyring=/usr/share/keyrings/debian-archive-keyring.gpg base s
	need apt-get
	need debootstrap
	[[ -e $keyring ]] || die "$keyring not found: run scripts/setup.sh"
	base=$(APT_CONFIG='' mirror) || exit 2
	mkdir -p "$dir"/{archives,lists}/partial "$dir"/none/{apt.conf,preferences}.d
	: >"$dir/status"
	for s in "$1" "$1-updates" "$1-backports"; do
		if [[ $s != bullseye-* ]]; then echo "deb [signed-by=$keyring] $base $s main"; fi
	done >"$dir/sources.list"
	echo "deb [signed-by=$keyring] $base-security $1-security main" >>"$dir/sources.list"
	cat >"$dir/apt.conf" <<-END
		APT::Architecture "$2";
		APT::Architectures { "$2"; };
		APT::Install-Recommends "false";
		APT::Sandbox::User "root";
		Acquire::Languages "none";
		Dir::Cache "$dir";
		Dir::Cache::pkgcache "";
		Dir::Cache::srcpkgcache "";
		Dir::Etc "$dir/none";
		Dir::Etc::sourcelist "$dir/sources.list";
		Dir::State "$dir";
		Dir::State::status "$dir/status";
	END
	export APT_CONFIG=$dir/apt.conf
	apt_archives=$dir/archives
}

# with_lists COMMAND... runs it. If it fails, with_lists updates the package lists and runs it again.
with_lists() {
	"$@" 2>/dev/null || { apt-get -q update >&2 && "$@"; }
}

# fetch_kernel downloads and unpacks the kernel. It never leaves an incomplete directory.
fetch_kernel() {
	local new got parts
	if [[ -d $kernel ]]; then return; fi
	need depmod
	new=$(mktemp -d "$scratch/new.XXXXXX")
	use_apt "${suite%%-*}" "$arch"
	parts=("linux-image-$release=$version")
	# Debian splits the packages of newer kernels.
	if with_lists apt-cache show "${parts[@]}" | grep '^Depends:.* linux-binary-' >/dev/null; then # -q would kill apt-cache with SIGPIPE
		parts=("linux-base-$release=$version" "linux-binary-$release=$version" "linux-modules-$release=$version")
	fi
	(cd "$new" && with_lists apt-get -qq download "${parts[@]}") >&2 ||
		die "downloading ${parts[*]} from Debian's suite $suite failed: set a newer version in vm.sh"
	got=$(cat "$new"/*.deb | sha256sum | cut -d ' ' -f 1)
	[[ $got == "$sum" ]] || die "wrong SHA-256 of ${parts[*]}: $got instead of $sum"
	mkdir -p "$new/root/usr/lib"
	ln -s usr/lib "$new/root/lib"
	for part in "$new"/*.deb; do unpack "$part" "$new/root"; done
	depmod --basedir "$new/root" "$release"
	mv "$new/root" "$kernel"
}

# unpack PACKAGE DIR extracts a package into DIR. It keeps DIR's links to directories.
unpack() {
	dpkg-deb --fsys-tarfile "$1" | tar --extract --keep-directory-symlink --directory "$2"
}

# would_install PACKAGE... prints the packages that apt would install, with versions.
would_install() {
	with_lists apt-get -q --simulate install "$@" | awk '$1 == "Inst" { print $2, $3 }' | sort
}

# install PACKAGE... unpacks the packages and their dependencies into $tree. It does not run
# their scripts, so it also works for other architectures.
install() {
	local name
	mkdir -p "$tree"/usr/{bin,lib,lib64,sbin}
	for name in bin sbin lib lib64; do ln -s "usr/$name" "$tree/$name"; done
	with_lists apt-get -qq --yes --download-only install "$@" >&2
	for name in "$apt_archives"/*.deb; do unpack "$name" "$tree"; done
	rm -f -- "${apt_archives:?}"/*.deb
}

short_hash() {
	sha256sum | head -c 16
}

# unpack_release RELEASE DIR PACKAGE... never leaves an incomplete directory.
unpack_release() {
	local tree=$scratch/tree
	use_apt "$1" "$(dpkg --print-architecture)"
	install "${@:3}"
	mkdir -p "$(dirname "$2")"
	mv "$tree" "$2"
}

# set_root sets $root, the path of the userland's disk image. The path depends on everything
# that the image is made of.
set_root() {
	use_apt "$userland" "$arch"
	# shellcheck disable=SC2206 # a list
	programs=("${packages[@]}" ${packages_of[$userland]})
	root=$cache/$userland-$arch-$( (would_install "${programs[@]}" && declare -f fetch_userland install write_init) | short_hash)
}

# fetch_emulator unpacks QEMU into $emulator.
fetch_emulator() {
	local new tree
	use_apt "$emulator_release" "$(dpkg --print-architecture)"
	emulator=$cache/qemu-$(would_install "${emulator_packages[@]}" | short_hash)
	if [[ -d $emulator ]]; then return; fi
	rm -rf -- "$cache"/qemu-*
	new=$(mktemp -d "$scratch/new.XXXXXX")
	tree=$new/tree
	install "${emulator_packages[@]}"
	mv "$tree" "$emulator"
}

# emulate PROGRAM OPTION... runs a program of $emulator with its own libraries.
emulate() {
	local loader libraries
	loader=$(echo "$emulator"/usr/lib/*/ld-linux-*.so.?)
	libraries=$(dirname "$loader")
	QEMU_MODULE_DIR=$libraries/qemu timeout --foreground "$limit" "$loader" --library-path "$libraries" \
		"$emulator/usr/bin/$1" -L "$emulator/usr/share/qemu" -L "$emulator/usr/share/seabios" "${@:2}"
}

# fetch_userland makes $root, a disk image with the userland's packages.
fetch_userland() {
	local new tree
	set_root
	if [[ -e $root ]]; then return; fi
	need mkfs.ext4
	rm -f -- "$cache/$userland-$arch"-*
	new=$(mktemp -d "$scratch/new.XXXXXX")
	tree=$new/tree
	mkdir -p "$tree"/{dev,disk,etc/systemd/system,guest,proc,root,run,sys,tmp,usr/{lib/modules,local/bin},var/tmp}
	install "${programs[@]}"
	chmod 1777 "$tree/tmp" "$tree/var/tmp"
	# These steps replace the packages' scripts.
	ln -sf mawk "$tree/usr/bin/awk"
	ln -sf dash "$tree/usr/bin/sh"
	ln -sf iptables-nft "$tree/usr/sbin/iptables"
	cp "$tree/usr/share/base-passwd/passwd.master" "$tree/etc/passwd"
	cp "$tree/usr/share/base-passwd/group.master" "$tree/etc/group"
	echo "messagebus:x:100:100::/nonexistent:/usr/sbin/nologin" >>"$tree/etc/passwd"
	printf '%s\n' messagebus:x:100: docker:x:101: >>"$tree/etc/group"
	echo "127.0.0.1 localhost" >"$tree/etc/hosts"
	write_init
	truncate --size 4G "$new/disk"
	# An MBR with one partition, which starts at 1 MiB, and with a disk signature. The kernel
	# finds the partition by the signature, so the disk's name does not matter.
	printf '\xf0\xca\xb0\xca\0\0\0\0\0\0\x83\0\0\0\0\x08\0\0\0\xf8\x7f\0' | dd status=none of="$new/disk" bs=1 seek=440 conv=notrunc
	printf '\x55\xaa' | dd status=none of="$new/disk" bs=1 seek=510 conv=notrunc
	mkfs.ext4 -q -O ^has_journal -E offset=1048576 -d "$tree" "$new/disk" 4095M
	mv "$new/disk" "$root"
}

# write_init writes the first process of the guest. The command's output goes to one serial
# line, its exit code to another one. The guest ends with a reset, which makes QEMU exit. A
# panic also makes QEMU exit.
write_init() {
	cat >"$tree/init" <<-'END'
		#!/bin/bash
		mount -t proc proc /proc
		mount -t devtmpfs devtmpfs /dev
		for disk in /dev/nvme?n?; do
			if mount "$disk" /disk 2>/dev/null; then break; fi # the other has partitions
		done
		mount --bind /disk/modules /usr/lib/modules
		words=" $(</proc/cmdline) "
		if [[ $words == *" guest.first=systemd "* ]]; then exec /usr/lib/systemd/systemd; fi
		ln -s /proc/self/fd /dev/fd
		mount -t sysfs sysfs /sys
		mount -t tmpfs tmpfs /run
		if [[ $words == *" guest.cgroups=v1 "* ]]; then
			mount -t tmpfs tmpfs /sys/fs/cgroup
			while read -r name _; do
				mkdir "/sys/fs/cgroup/$name"
				mount -t cgroup -o "$name" cgroup "/sys/fs/cgroup/$name"
			done < <(grep -v '^#' /proc/cgroups)
		else
			mount -t cgroup2 cgroup2 /sys/fs/cgroup
		fi
		mount -t tracefs tracefs /sys/kernel/tracing
		mount -t bpf bpf /sys/fs/bpf
		mount -t securityfs securityfs /sys/kernel/security
		ip link set lo up
		exec /guest-command
	END
	cat >"$tree/guest-command" <<-'END'
		#!/bin/bash
		export HOME=/root PATH=/usr/sbin:/usr/bin
		for word in $(</proc/cmdline); do
			case $word in guest.output=*) output=/dev/${word#*=} ;; guest.code=*) status=/dev/${word#*=} ;; esac
		done
		mount --bind /disk/dir /guest
		cd /guest
		code=0
		setsid bash /disk/command </dev/null >"$output" 2>&1 || code=$?
		echo "$code" >"$status"
		echo b >/proc/sysrq-trigger
	END
	chmod +x "$tree/init" "$tree/guest-command"
	echo 0123456789abcdef0123456789abcdef >"$tree/etc/machine-id"
	cat >"$tree/etc/systemd/system/guest.service" <<-'END'
		[Unit]
		Wants=basic.target dbus.socket
		After=basic.target dbus.socket
		[Service]
		ExecStart=/guest-command
	END
}

# make_disk DIR COMMAND... writes the second disk, with a copy of DIR, the command, and the
# kernel's modules.
make_disk() {
	local tree=$scratch/tree
	mkdir "$tree"
	cp -a "$kernel/lib/modules" "$tree/modules"
	cp -a "$1" "$tree/dir"
	shift
	printf '%q ' "$@" >"$tree/command"
	truncate --size 2G "$scratch/disk"
	mkfs.ext4 -q -O ^has_journal -d "$tree" "$scratch/disk"
	rm -rf -- "$tree"
}

boot() {
	local machine words=(root=PARTUUID=cab0caf0-01 rootwait rw quiet "panic=-1" "mitigations=off" "apparmor=0"
		init=/init "guest.first=$first" "guest.cgroups=$cgroups" "systemd.unit=guest.service")
	case $arch in
	amd64)
		# A processor without AVX: emulated AVX makes programs slower, not faster.
		machine=(qemu-system-x86_64 -accel tcg -cpu Nehalem)
		words+=("console=ttyS0" "guest.output=ttyS1" "guest.code=ttyS2")
		serial=(-serial stdio -serial "file:$scratch/code")
		;;
	arm64)
		machine=(qemu-system-aarch64 -accel tcg -machine virt -cpu cortex-a72)
		words+=("console=ttyAMA0" "guest.output=ttyS0" "guest.code=ttyS1")
		serial=(-chardev "stdio,id=out" -device "pci-serial,chardev=out" -chardev "file,id=code,path=$scratch/code" -device "pci-serial,chardev=code")
		;;
	esac
	case $first-$cgroups in
	systemd-hybrid) words+=("systemd.unified_cgroup_hierarchy=0") ;;
	systemd-v1) words+=("systemd.unified_cgroup_hierarchy=0" "systemd.legacy_systemd_cgroup_controller=1") ;;
	esac
	# Mitigations protect nothing here, and AppArmor would deny some workloads. The disks are
	# discarded, so unsafe caching is acceptable.
	emulate "${machine[@]}" -smp 1 -m 2048 -nodefaults -no-reboot -display none \
		-kernel "$(find "$kernel" -name 'vmlinuz*')" -append "${words[*]}" \
		-drive "file=$root,if=none,id=root,format=raw,cache=unsafe,snapshot=on" \
		-drive "file=$scratch/disk,if=none,id=disk,format=raw,cache=unsafe" \
		-device nvme,id=nvme,serial=guest -device nvme-ns,drive=root,nsid=1 -device nvme-ns,drive=disk,nsid=2 \
		-serial "file:$scratch/console" "${serial[@]}" </dev/null
}

# alone COMMAND... waits until no other vm.sh uses the cache, then runs COMMAND. Otherwise COMMAND
# could find files that another vm.sh has not written completely.
alone() {
	local lock
	exec {lock}>"$cache/lock"
	flock "$lock"
	"$@"
	exec {lock}>&-
}

fetch() {
	fetch_emulator
	fetch_kernel
	fetch_userland
}

run() {
	local code
	alone fetch
	make_disk "$@"
	boot || die "QEMU failed, or the guest ran for more than $limit seconds"
	code=$(tr -dc '0-9' <"$scratch/code")
	if [[ -z $code ]]; then
		echo "vm.sh: the guest ended before the command did; the last lines of its console:" >&2
		tail -n 60 "$scratch/console" | sed 's/^/    /' >&2
		exit 2
	fi
	exit "$code"
}

command=${1:-}
shift || usage
case $command in
guests)
	[[ $# == 0 ]] || usage
	names
	exit
	;;
arch | recipe | kernel | fetch) [[ $# == 1 ]] || usage ;;
run) [[ $# -ge 3 && -d $2 ]] || usage ;;
unpack) [[ $# -ge 3 && ! -e $2 ]] || usage ;;
*) usage ;;
esac
mkdir -p "$cache"
scratch=$(mktemp -d "$cache/scratch.XXXXXX")
trap 'rm -rf -- "$scratch"' EXIT
if [[ $command == unpack ]]; then
	alone unpack_release "$@"
	exit
fi
select_guest "$1"
shift
case $command in
arch) echo "$arch" ;;
recipe) alone recipe ;;
kernel)
	alone fetch_kernel
	echo "$kernel"
	;;
fetch) alone fetch ;;
run) run "$@" ;;
esac

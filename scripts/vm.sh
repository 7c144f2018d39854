#!/bin/bash
# Runs a command under another kernel: in a virtual machine that is made of a kernel
# package of Debian's and of programs of this host.
#
#   vm.sh kernels                      list the kernels
#   vm.sh fetch KERNEL                 download it, check it, unpack it, if it is not there
#   vm.sh run KERNEL DIR COMMAND...    run COMMAND in the copy of DIR that the guest has
#                                      as /guest; its output and exit code are ours
#
# The guest has one processor, no network, cgroup v2, and what Docker and its scripts
# need; what is written there is gone afterwards. Nothing but the processor is used of
# the host, and that without KVM, which is missing in most places where tests run.
# Exits with 2 if the guest ends before COMMAND does.
set -euo pipefail

scripts=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
cache=$(dirname "$scripts")/.cache/vm
PATH=$PATH:/usr/local/sbin:/usr/sbin:/sbin
limit=1200 # seconds until a guest that hangs is ended

# The cloud flavour has the drivers for the disk and its file system built in, so that
# it boots without an initramfs. Name, version and SHA-256 of the package, the oldest
# first.
kernels=(
	"linux-image-6.1.0-50-cloud-amd64 6.1.176-1 efe19f605b6f54a8352e68d85a629abb2d30b72a085faef603a9152590baa791"
	"linux-image-6.12.117+deb12-cloud-amd64 6.12.117-1~deb12u1 5195b288dec79e2981d6b84457f38b7ce7310a2d702930ec7d07209c7f78ce37"
)

# What the guest has of the host. dockerd starts containers by way of the first lines,
# dockerd.sh and the kernel (modprobe) use the rest.
programs=(docker dockerd containerd containerd-shim-runc-v2 runc crun docker-init
	ip modprobe
	bash sh awk basename cat cut date dirname echo flock grep head id ln ls mkdir mktemp
	mount realpath rm rmdir sed setsid sha256sum sleep sort tail tr umount)

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

# names prints what the kernels are called here: 6.1, 6.12.
names() {
	printf '%s\n' "${kernels[@]}" | sed -E 's/^linux-image-([0-9]+\.[0-9]+).*/\1/'
}

# select_kernel NAME sets $package, $version, $sum, and $kernel, where it is unpacked.
select_kernel() {
	local line
	for line in "${kernels[@]}"; do
		if [[ $line == "linux-image-$1."* ]]; then
			read -r package version sum <<<"$line"
			kernel=$cache/$package
			return
		fi
	done
	die "$1: no such kernel, only $(names | paste -sd ' ')"
}

# download gets the package by apt, which knows the mirrors, and whose lists may be old.
download() {
	local got
	need apt-get
	(cd "$1" && { apt-get -q -o APT::Sandbox::User=root download "$package=$version" ||
		{ apt-get -q update && apt-get -q -o APT::Sandbox::User=root download "$package=$version"; }; }) >&2 ||
		die "$package $version cannot be had from apt's sources: see https://snapshot.debian.org/package/linux-signed-amd64/"
	got=$(echo "$1"/*.deb)
	echo "$sum  $got" | sha256sum --check --quiet >&2 || die "$got is not what was expected"
	echo "$got"
}

# fetch_kernel leaves nothing half done: the directory appears as a whole.
fetch_kernel() {
	local new archive
	if [[ -d $kernel ]]; then return; fi
	need depmod
	mkdir -p "$cache"
	new=$(mktemp -d "$cache/new.XXXXXX")
	archive=$(download "$new")
	dpkg-deb --extract "$archive" "$new/root"
	depmod --basedir "$new/root" "${package#linux-image-}"
	mv "$new/root" "$kernel"
	rm -rf -- "$new"
}

# copy_programs puts programs of the host, and the libraries that they load, into $tree.
copy_programs() {
	local name path libraries
	mkdir -p "$tree/usr/bin" "$tree/usr/lib" "$tree/usr/lib64"
	for name in bin sbin; do ln -s usr/bin "$tree/$name"; done
	ln -s bin "$tree/usr/sbin"
	for name in lib lib64; do ln -s "usr/$name" "$tree/$name"; done
	for name in "${programs[@]}"; do
		need "$name"
		path=$(type -P "$name")
		cp -L "$path" "$tree/usr/bin/$name"
		# A static program has none, and ldd says so with a failure.
		libraries=$(ldd "$path" 2>/dev/null | grep -oE '/[^ ]+' || true)
		# shellcheck disable=SC2086 # a list of paths
		if [[ -n $libraries ]]; then cp -Lu --parents $libraries "$tree"; fi
	done
}

# write_init: what the kernel starts. The command's output goes to the second serial
# line, its exit code to the third; the first is the kernel's own. It ends with a
# reset, at which QEMU exits, and so does a panic.
write_init() {
	cat >"$tree/init" <<-'END'
		#!/bin/bash
		mount -t proc proc /proc
		mount -t sysfs sysfs /sys
		mount -t devtmpfs devtmpfs /dev
		ln -s /proc/self/fd /dev/fd
		mount -t tmpfs tmpfs /run
		mount -t cgroup2 cgroup2 /sys/fs/cgroup
		mount -t tracefs tracefs /sys/kernel/tracing
		mount -t bpf bpf /sys/fs/bpf
		mount -t securityfs securityfs /sys/kernel/security
		ip link set lo up
		export HOME=/root PATH=/usr/bin
		cd /guest || exit
		code=0
		setsid bash /command </dev/null >/dev/ttyS1 2>&1 || code=$?
		echo "$code" >/dev/ttyS2
		echo b >/proc/sysrq-trigger
	END
	chmod +x "$tree/init"
}

# make_disk writes the guest's root file system with a copy of DIR into $disk.
make_disk() {
	local tree=$scratch/tree
	mkdir "$tree"
	copy_programs
	mkdir -p "$tree"/{dev,etc,proc,root,run,sys,tmp,var/tmp}
	chmod 1777 "$tree/tmp" "$tree/var/tmp"
	echo "root:x:0:0:root:/root:/bin/sh" >"$tree/etc/passwd"
	echo "root:x:0:" >"$tree/etc/group"
	echo "127.0.0.1 localhost" >"$tree/etc/hosts"
	cp -a "$kernel/lib/modules" "$tree/usr/lib/"
	cp -a "$1" "$tree/guest"
	shift
	printf '%q ' "$@" >"$tree/command"
	write_init
	truncate --size 4G "$disk"
	mkfs.ext4 -q -O ^has_journal -d "$tree" "$disk"
	rm -rf -- "$tree"
}

boot() {
	# One processor: with more, 6.12 panics under TCG. One without AVX: emulated, that
	# slows down what it is to speed up. Mitigations guard nothing here; AppArmor would
	# refuse some workloads. The disk is thrown away: nothing on it has to be safe.
	timeout --foreground "$limit" qemu-system-x86_64 \
		-accel tcg -cpu Nehalem -smp 1 -m 2048 -nodefaults -no-reboot -display none \
		-kernel "$kernel"/boot/vmlinuz-* \
		-append "root=/dev/nvme0n1 rootwait rw init=/init console=ttyS0 quiet panic=-1 mitigations=off apparmor=0" \
		-drive "file=$disk,if=none,id=disk,format=raw,cache=unsafe" -device nvme,drive=disk,serial=disk \
		-serial "file:$scratch/console" -serial stdio -serial "file:$scratch/code" </dev/null
}

run() {
	local code scratch disk
	need qemu-system-x86_64
	need mkfs.ext4
	fetch_kernel
	scratch=$(mktemp -d "$cache/run.XXXXXX")
	# shellcheck disable=SC2064 # the name is that of now
	trap "rm -rf -- '$scratch'" EXIT
	disk=$scratch/disk
	make_disk "$@"
	boot || die "QEMU failed, or the guest took more than $limit seconds"
	code=$(tr -dc '0-9' <"$scratch/code")
	if [[ -z $code ]]; then
		echo "vm.sh: the guest ended before the command did; the end of its console:" >&2
		tail -n 20 "$scratch/console" | sed 's/^/    /' >&2
		exit 2
	fi
	exit "$code"
}

command=${1:-}
shift || usage
case $command in
kernels)
	[[ $# == 0 ]] || usage
	names
	;;
fetch)
	[[ $# == 1 ]] || usage
	select_kernel "$1"
	fetch_kernel
	;;
run)
	[[ $# -ge 3 && -d $2 ]] || usage
	select_kernel "$1"
	shift
	run "$@"
	;;
*) usage ;;
esac

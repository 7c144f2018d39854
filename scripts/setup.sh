#!/bin/bash
# Installs what is missing to build and test capmon, on Debian and Ubuntu.
#
#   setup.sh [test]   everything: compilers, linters, a Docker daemon, test programs
#   setup.sh docker   everything, and a current Docker daemon
#   setup.sh kubelet  everything, and a kubelet
#   setup.sh bench    what the benchmark needs: most of what the tests need, and bpftrace
#   setup.sh demo     what the demo needs: a static busybox, and Docker if none answers
#
# Without root, or on another distribution, it prints what is missing and exits with 2.
set -euo pipefail

repository=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
newest_runc=$repository/.cache/bin/runc newest_runc_version=v1.5.2
newest_dockerd=$repository/.cache/bin/dockerd newest_proxy=$repository/.cache/bin/docker-proxy
newest_dockerd_version=29.9.3 newest_dockerd_module=github.com/moby/moby/v2@v2.0.0-beta.24
newest_containerd=$repository/.cache/containerd newest_containerd_version=v2.4.2
crictl=$newest_containerd/crictl crictl_version=v1.37.0
newest_podman=$repository/.cache/podman newest_podman_release=trixie
kubelet=$repository/.cache/bin/kubelet kubelet_version=v1.37.2
quadlet=$repository/.cache/bin/quadlet quadlet_version=v5.4.2
alertmanager=$repository/.cache/bin/alertmanager alertmanager_version=v0.35.0
axe=$repository/.cache/axe-core/axe.min.js axe_version=4.14.1
axe_package_sha256=e6b0ce02b84d892e2e33e403485e7f3d6c29e2be6df65daf44d89ba564139745
prometheus=$repository/.cache/bin/prometheus promtool=$repository/.cache/bin/promtool
PATH=$PATH:/usr/local/sbin:/usr/sbin:/sbin

die() {
	echo "setup.sh: $*" >&2
	exit 2
}

has() {
	command -v "$1" >/dev/null
}

has_static_busybox() {
	has busybox && ! ldd "$(command -v busybox)" 2>/dev/null | grep -qF '=>'
}

has_static_libc() {
	has gcc && [[ $(gcc -print-file-name=libc.a) == /* ]]
}

has_docker_answering() {
	has docker && docker version >/dev/null 2>&1
}

has_compose() {
	has docker && docker compose version >/dev/null 2>&1
}

has_newest_runc() {
	[[ -x $newest_runc && $("$newest_runc" --version) == "runc version ${newest_runc_version#v}"$'\n'* ]]
}

has_newest_dockerd() {
	[[ -x $newest_proxy && -x $newest_dockerd && $("$newest_dockerd" --version) == "Docker version $newest_dockerd_version,"* ]]
}

has_newest_containerd() {
	[[ -x $newest_containerd/containerd-shim-runc-v2 && -x $newest_containerd/ctr && -x $newest_containerd/containerd &&
		$("$newest_containerd/containerd" --version) == *" $newest_containerd_version "* ]]
}

has_crictl() {
	[[ -x $crictl && $("$crictl" --version) == "crictl version $crictl_version" ]]
}

has_newest_podman() {
	[[ -x $newest_podman/usr/bin/podman && -d $newest_podman/mnt ]]
}

has_kubelet() {
	[[ -x $kubelet && $("$kubelet" --version) == "Kubernetes $kubelet_version" ]]
}

has_quadlet() {
	[[ -x $quadlet && $("$quadlet" -version) == "${quadlet_version#v}" ]]
}

has_alertmanager() {
	[[ -x $alertmanager && $("$alertmanager" --version 2>&1) == *"version ${alertmanager_version#v} "* ]]
}

has_prometheus() {
	"$prometheus" --version >/dev/null 2>&1 && "$promtool" --version >/dev/null 2>&1
}

has_axe() {
	[[ -e $axe && $(head -n 1 "$axe") == *"axe v$axe_version" ]]
}

# want NAME PACKAGE TEST... adds NAME and PACKAGE to the lists of what is missing, unless TEST succeeds.
want() {
	local name=$1 package=$2
	shift 2
	if ! "$@"; then
		missing+=("$name")
		if [[ " ${packages[*]} " != *" $package "* ]]; then packages+=("$package"); fi
	fi
}

# docker_cli_package prints the package of the docker command. Debian 13 moved the command out of docker.io.
docker_cli_package() {
	if apt-cache show docker-cli >/dev/null 2>&1; then echo docker-cli; else echo docker.io; fi
}

# want_cross_compiler checks for the compiler of the programs for guests with the other architecture.
want_cross_compiler() {
	case $(dpkg --print-architecture 2>/dev/null) in
	amd64)
		want aarch64-linux-gnu-gcc gcc-aarch64-linux-gnu has aarch64-linux-gnu-gcc
		want "libc.a for arm64" libc6-dev-arm64-cross test -e /usr/aarch64-linux-gnu/lib/libc.a
		;;
	arm64)
		want x86_64-linux-gnu-gcc gcc-x86-64-linux-gnu has x86_64-linux-gnu-gcc
		want "libc.a for amd64" libc6-dev-amd64-cross test -e /usr/x86_64-linux-gnu/lib/libc.a
		;;
	esac
}

want_daemon() {
	want docker "$(docker_cli_package)" has docker
	want dockerd docker.io has dockerd
	want containerd containerd has containerd
	want runc runc has runc
	want iptables iptables has iptables
	want jq jq has jq
	want ip iproute2 has ip
}

find_missing() {
	missing=() packages=()
	want "busybox (statically linked)" busybox-static has_static_busybox
	if [[ $mode == demo ]]; then
		has_docker_answering || want_daemon
		return
	fi
	want_daemon
	want git git has git
	want make make has make
	want gcc gcc has gcc
	want "libc.a (static C library)" libc6-dev has_static_libc
	want setcap libcap2-bin has setcap
	want clang clang has clang
	want llvm-strip llvm has llvm-strip
	want "seccomp.h (libseccomp's headers)" libseccomp-dev test -e /usr/include/seccomp.h
	want pkg-config pkg-config has pkg-config
	want "bpf/bpf_helpers.h (libbpf's headers)" libbpf-dev test -e /usr/include/bpf/bpf_helpers.h
	want clang-format clang-format has clang-format
	want shellcheck shellcheck has shellcheck
	want debootstrap debootstrap has debootstrap
	want systemd systemd test -x /usr/lib/systemd/systemd
	want "Debian's keys" debian-archive-keyring test -e /usr/share/keyrings/debian-archive-keyring.gpg
	want_cross_compiler
	want mkfs.ext4 e2fsprogs has mkfs.ext4
	want mkfs.xfs xfsprogs has mkfs.xfs
	want depmod kmod has depmod
	want lz4 lz4 has lz4
	want xz xz-utils has xz
	want zstd zstd has zstd
	want crun crun has crun
	if [[ $mode == test ]]; then
		want ctr containerd has ctr
		want podman podman has podman
		want lxc-start lxc has lxc-start
		want systemd-nspawn systemd-container has systemd-nspawn
		want conmon conmon has conmon
		want catatonit catatonit has catatonit
		want rsyslogd rsyslog has rsyslogd
		want chromium chromium has chromium
		want "fonts for chromium" fonts-dejavu-core test -e /usr/share/fonts/truetype/dejavu/DejaVuSans.ttf
		has_axe || want npm npm has npm
		want tmux tmux has tmux
	fi
	want systemd-analyze systemd has systemd-analyze
	if [[ $mode == bench ]]; then want bpftrace bpftrace has bpftrace; fi
}

install_packages() {
	local apt=(apt-get -y -q -o DPkg::Lock::Timeout=300)
	export DEBIAN_FRONTEND=noninteractive
	if [[ -z $(find /var/lib/apt/lists -name '*_Packages*' -print -quit 2>/dev/null) ]]; then
		"${apt[@]}" update
		find_missing # again: some package names depend on the lists
	fi
	# Old package lists can name versions that the mirrors no longer have.
	"${apt[@]}" install --no-install-recommends "${packages[@]}" ||
		{ "${apt[@]}" update && "${apt[@]}" install --no-install-recommends "${packages[@]}"; }
}

# check_go checks the version of Go. It does not install Go: the user decides which Go to use.
check_go() {
	local wanted have
	wanted=$(awk '$1 == "go" { print $2 }' "$repository/go.mod")
	has go || die "go not found: install Go $wanted or newer, see https://go.dev/doc/install"
	# Go 1.21 and newer fetch the version that go.mod requires, if GOTOOLCHAIN allows it.
	have=$(cd "$repository" && go env GOVERSION) || die "go.mod requires Go $wanted or newer: see https://go.dev/doc/install"
	have=${have#go}
	if [[ $(printf '%s\n' "$wanted" "$have" | sort -V | head -n 1) != "$wanted" ]]; then
		die "Go $have is too old: install Go $wanted or newer, see https://go.dev/doc/install"
	fi
}

# install_compose builds Docker's compose plugin from source, since Debian 12 does not have
# it. Go verifies that the source is the released one.
install_compose() {
	local module=github.com/docker/compose/v2@v2.40.3 directory
	local plugins=/usr/local/lib/docker/cli-plugins
	if [[ $(id -u) != 0 ]]; then die "missing: docker compose (run setup.sh as root, or install Docker's compose plugin, version 2 or later)"; fi
	echo "setup.sh: missing: docker compose; building $module" >&2
	directory=$(go mod download -json "$module" | jq --raw-output .Dir)
	mkdir -p "$plugins"
	CGO_ENABLED=0 go build -C "$directory" -buildvcs=false -trimpath \
		-ldflags "-s -w -X ${module%@*}/internal.Version=${module#*@}" -o "$plugins/docker-compose" ./cmd
	has_compose || die "docker compose still does not run"
}

# install_newest_runc builds a second runc from source. It prepares containers differently
# from Debian 12's runc. dockerd.sh offers it as the runtime newest-runc.
install_newest_runc() {
	local module=github.com/opencontainers/runc@$newest_runc_version directory
	echo "setup.sh: missing: the newest runc; building $module" >&2
	directory=$(go mod download -json "$module" | jq --raw-output .Dir)
	mkdir -p "$(dirname "$newest_runc")"
	CGO_ENABLED=1 go build -C "$directory" -buildvcs=false -trimpath -tags seccomp \
		-ldflags "-s -w -X main.version=${newest_runc_version#v}" -o "$newest_runc" .
	has_newest_runc || die "the newest runc does not run"
}

# install_newest_dockerd builds a current Docker daemon and its proxy for published ports
# from source. The build takes five minutes of processor time.
install_newest_dockerd() {
	local directory
	echo "setup.sh: missing: Docker $newest_dockerd_version; building $newest_dockerd_module" >&2
	directory=$(go mod download -json "$newest_dockerd_module" | jq --raw-output .Dir)
	mkdir -p "$(dirname "$newest_dockerd")"
	CGO_ENABLED=0 go build -C "$directory" -mod=readonly -buildvcs=false -trimpath -ldflags '-s -w' -o "$newest_proxy" ./cmd/docker-proxy
	CGO_ENABLED=0 go build -C "$directory" -mod=readonly -buildvcs=false -trimpath \
		-ldflags "-s -w -X ${newest_dockerd_module%@*}/dockerversion.Version=$newest_dockerd_version" -o "$newest_dockerd" ./cmd/dockerd
	has_newest_dockerd || die "the newest dockerd does not run"
}

# build_module MODULE PACKAGE FILE OPTION... builds a program from the module that has it, with go build's options.
build_module() {
	local directory
	directory=$(go mod download -json "$1" | jq --raw-output .Dir)
	mkdir -p "$(dirname "$3")"
	CGO_ENABLED=0 go build -C "$directory" -mod=readonly -buildvcs=false -trimpath -o "$3" "${@:4}" "$2"
}

# install_newest_containerd builds a current containerd from source. The build takes two minutes of processor time.
install_newest_containerd() {
	local path=github.com/containerd/containerd/v2 program
	local module=$path@$newest_containerd_version
	echo "setup.sh: missing: containerd $newest_containerd_version; building $module" >&2
	for program in containerd containerd-shim-runc-v2 ctr; do
		build_module "$module" "./cmd/$program" "$newest_containerd/$program" -tags no_btrfs \
			-ldflags "-s -w -X $path/version.Version=$newest_containerd_version"
	done
	has_newest_containerd || die "the newest containerd does not run"
}

# install_crictl builds the command with which administrators use a CRI.
install_crictl() {
	local module=sigs.k8s.io/cri-tools@$crictl_version
	echo "setup.sh: missing: crictl; building $module" >&2
	build_module "$module" ./cmd/crictl "$crictl" -ldflags "-s -w -X ${module%@*}/pkg/version.Version=$crictl_version"
	has_crictl || die "crictl does not run"
}

# install_newest_podman unpacks Debian's packages of a newer podman and of everything that it
# runs. scripts/podman.sh runs it in a mount namespace of its own.
install_newest_podman() {
	echo "setup.sh: missing: a newer podman; fetching Debian's packages" >&2
	has apt-get || die "missing: a newer podman (copy a directory tree with podman to $newest_podman)"
	rm -rf -- "$newest_podman"
	"$repository/scripts/vm.sh" unpack "$newest_podman_release" "$newest_podman" podman conmon runc catatonit mount
	mkdir -p "$newest_podman"/{dev,proc,run,sys,tmp,mnt} # mount points
	has_newest_podman || die "the newer podman is not there"
}

# install_kubelet builds a kubelet from source, since Debian does not have one. The module of
# Kubernetes names some of its own modules by their directories in its repository. Outside the
# repository, the build uses their released versions. It takes 13 minutes of processor time.
install_kubelet() {
	local module=k8s.io/kubernetes@$kubelet_version directory files
	echo "setup.sh: missing: the kubelet; building $module" >&2
	directory=$(go mod download -json "$module" | jq --raw-output .Dir)
	mkdir -p "$(dirname "$kubelet")"
	files=$(mktemp -d)
	sed -E "s|=> \./staging/src/(\S+)|=> \1 v0.${kubelet_version#v1.}|" "$directory/go.mod" >"$files/go.mod"
	cat "$directory/go.sum" >"$files/go.sum"
	GOWORK=off CGO_ENABLED=0 go build -C "$directory" -modfile="$files/go.mod" -mod=mod -buildvcs=false -trimpath \
		-ldflags "-s -w -X k8s.io/component-base/version.gitVersion=$kubelet_version" -o "$kubelet" ./cmd/kubelet
	rm -r "$files"
	has_kubelet || die "the kubelet does not run"
}

# install_quadlet builds the generator that reads podman's quadlets. Debian 12's podman is
# older than quadlets.
install_quadlet() {
	local module=github.com/containers/podman/v5@$quadlet_version directory
	echo "setup.sh: missing: podman's quadlet generator; building $module" >&2
	directory=$(go mod download -json "$module" | jq --raw-output .Dir)
	mkdir -p "$(dirname "$quadlet")"
	CGO_ENABLED=0 go build -C "$directory" -mod=readonly -buildvcs=false -trimpath -o "$quadlet" ./cmd/quadlet
	has_quadlet || die "podman's quadlet generator does not run"
}

# install_alertmanager builds Prometheus' Alertmanager without its web pages, which its
# module does not contain.
install_alertmanager() {
	local module=github.com/prometheus/alertmanager@$alertmanager_version directory source
	echo "setup.sh: missing: Alertmanager; building $module" >&2
	directory=$(go mod download -json "$module" | jq --raw-output .Dir)
	mkdir -p "$(dirname "$alertmanager")"
	source=$(mktemp -d)
	cp -R "$directory/." "$source"
	chmod -R u+w "$source"
	mkdir -p "$source/ui/app/dist"
	touch "$source/ui/app/dist/index.html"
	CGO_ENABLED=0 go build -C "$source" -mod=readonly -buildvcs=false -trimpath \
		-ldflags "-s -w -X github.com/prometheus/common/version.Version=${alertmanager_version#v}" -o "$alertmanager" ./cmd/alertmanager
	rm -r "$source"
	has_alertmanager || die "Alertmanager does not run"
}

# install_prometheus extracts Prometheus and promtool from Debian's package. Installing the
# package would run Prometheus as a service on this machine.
install_prometheus() {
	local directory
	echo "setup.sh: missing: prometheus; fetching Debian's package" >&2
	has apt-get || die "missing: prometheus (copy prometheus and promtool to $(dirname "$prometheus"))"
	directory=$(mktemp -d)
	cd "$directory"
	# Old package lists can name versions that the mirrors no longer have.
	{ apt-get -q download prometheus || { apt-get -q update && apt-get -q download prometheus; }; } >&2
	dpkg-deb --extract prometheus_*.deb .
	cd - >/dev/null
	mkdir -p "$(dirname "$prometheus")"
	install "$directory"/usr/bin/{prometheus,promtool} "$(dirname "$prometheus")"
	rm -rf -- "$directory"
	has_prometheus || die "prometheus does not run"
}

# install_axe fetches axe-core, which tests run in pages to find barriers for readers.
install_axe() {
	local directory package=axe-core-$axe_version.tgz
	echo "setup.sh: missing: axe-core $axe_version; fetching its package" >&2
	directory=$(mktemp -d)
	npm pack --silent --pack-destination "$directory" "axe-core@$axe_version" >&2
	sha256sum --check --quiet <<<"$axe_package_sha256  $directory/$package" || die "$package is not the expected file"
	mkdir -p "$(dirname "$axe")"
	tar --extract --gzip --file "$directory/$package" --directory "$(dirname "$axe")" --strip-components=1 \
		package/axe.min.js package/LICENSE
	rm -r "$directory"
	has_axe || die "axe-core $axe_version is not there"
}

mode=${1:-test} addition=''
case $mode in
test | bench | demo) ;;
docker | kubelet) addition=$mode mode=test ;;
*)
	sed -n '2,/^set -/s/^# \{0,1\}//p' "${BASH_SOURCE[0]}" >&2
	exit 2
	;;
esac

check_go
find_missing
if ((${#missing[@]} > 0)); then
	list=$(printf ', %s' "${missing[@]}")
	list=${list:2}
	if ! has apt-get; then die "missing: $list (install them with your distribution's package manager)"; fi
	if [[ $(id -u) != 0 ]]; then die "missing: $list (run sudo apt-get install ${packages[*]})"; fi
	echo "setup.sh: missing: $list; installing ${packages[*]}" >&2
	install_packages >&2
	find_missing
	if ((${#missing[@]} > 0)); then die "still missing after the installation: ${missing[*]}"; fi
fi
if [[ $mode == test ]]; then
	has_compose || install_compose
	has_newest_runc || install_newest_runc
	has_quadlet || install_quadlet
	has_alertmanager || install_alertmanager
	has_prometheus || install_prometheus
	has_axe || install_axe
	has_newest_containerd || install_newest_containerd
	has_crictl || install_crictl
	has_newest_podman || install_newest_podman
fi
case $addition in
docker) has_newest_dockerd || install_newest_dockerd ;;
kubelet) has_kubelet || install_kubelet ;;
esac
echo "setup.sh: everything for '$mode' is installed" >&2

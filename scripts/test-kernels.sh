#!/bin/bash
# Runs the tests of the hooks under the kernels of vm.sh, with this host's Docker in
# the guest and the image bb of the daemon that DOCKER_HOST names.
#
#   test-kernels.sh            all workloads, all kernels: some 15 minutes
#   test-kernels.sh --short    a few workloads, the first kernel: some 2 minutes
#
# What passed is not run again before something changes that went into it. Exits with
# 1 if a test fails under one of the kernels.
set -euo pipefail

cd "$(dirname "${BASH_SOURCE[0]}")/.."
PATH=$PATH:/usr/local/sbin:/usr/sbin:/sbin
passed=.cache/vm/passed

die() {
	echo "test-kernels.sh: $*" >&2
	exit 2
}

# fill DIR puts what the guest runs into it.
fill() {
	local build=(-trimpath -buildvcs=false)
	CGO_ENABLED=0 go build "${build[@]}" -o "$1/capmon" ./cmd/capmon
	CGO_ENABLED=0 go test -c "${build[@]}" -o "$1/capmon.test" ./cmd/capmon
	cp scripts/dockerd.sh scripts/runc-capped.sh "$1"
	cat >"$1/test" <<-'END'
		set -eu
		docker load --quiet --input bb.tar >/dev/null
		CAPMON_GUEST=1 CAPMON_BINARY=$PWD/capmon ./capmon.test -test.run Hook -test.v "$@"
	END
}

# state prints what the outcome depends on: an image's archive is never the same twice,
# so its contents are taken at their label.
state() {
	local image
	image=$(docker image inspect --format '{{index .Config.Labels "com.github.capmon.contents"}}' bb) ||
		die "no image bb: run scripts/images.sh, see make test-kernels"
	echo "$image ${arguments[*]}"
	sha256sum "$work"/* scripts/vm.sh "$(type -P dockerd)" "$(type -P containerd)" "$(type -P runc)"
}

case $* in
"")
	arguments=()
	mapfile -t kernels < <(scripts/vm.sh kernels)
	;;
--short)
	arguments=(-test.short)
	mapfile -t kernels < <(scripts/vm.sh kernels | head -n 1)
	;;
*) die "$*: the only option is --short" ;;
esac

mkdir -p "$passed"
work=.cache/vm/work
rm -rf "$work"
mkdir "$work"
fill "$work"
stamp=$passed/$(state | sha256sum | head -c 16)
docker save bb >"$work/bb.tar"
failed=
for kernel in "${kernels[@]}"; do
	if [[ -e $stamp-$kernel ]]; then
		echo "$kernel: passed before, and nothing has changed"
		cat "$stamp-$kernel"
		continue
	fi
	echo "$kernel: running the tests"
	if scripts/vm.sh run "$kernel" "$work" ./dockerd.sh run /var/tmp/docker -- sh test "${arguments[@]}" >"$work.log"; then
		grep -vE '^ *(=== |--- PASS)' "$work.log" | tee "$stamp-$kernel.new"
		mv "$stamp-$kernel.new" "$stamp-$kernel"
	else
		cat "$work.log"
		failed+=" $kernel"
	fi
done
rm -rf "$work" "$work.log"
if [[ -n $failed ]]; then
	echo "test-kernels.sh: failed under$failed" >&2
	exit 1
fi

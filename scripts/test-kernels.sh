#!/bin/bash
# Runs the tests of the hooks and of the cgroups in the guests of vm.sh. The guests have other
# kernels, cgroups, versions of Docker and processors than this machine. The script prints a
# table of the results by guest, hook and workload.
#
#   test-kernels.sh            all guests: an hour
#   test-kernels.sh GUEST...   these guests
#   test-kernels.sh --short [GUEST...]
#                              a few workloads in these guests, or in two very different
#                              guests: about 15 minutes
#   test-kernels.sh --run REGEXP GUEST...
#                              the tests with these names in these guests
#
# One guest of each kernel runs all workloads, the other guests a few. The script does not
# repeat tests that passed until something changes that they depend on. It exits with 1 if
# a test fails in a guest.
set -euo pipefail

cd "$(dirname "${BASH_SOURCE[0]}")/.."
PATH=$PATH:/usr/local/sbin:/usr/sbin:/sbin
passed=.cache/vm/passed
thorough=" 6.1 6.12 6.18 7.3 "
# The tests of docs/threats.md that depend on the kernel.
hostile="Hidden|ThreadsOfTheKernel|RegisteredCredential|OpenedFileIs|BoundingSetIsNot|ValuesThatChange|FilesThat|FloodOfNames"

usage() {
	sed -n '2,/^set -/s/^# \{0,1\}//p' "${BASH_SOURCE[0]}" >&2
	exit 2
}

# fill ARCH puts the programs and files for guests of that architecture into $work/ARCH.
fill() {
	local build=(-trimpath -buildvcs=false) directory=$work/$1
	mkdir -p "$directory/scripts/workloads" "$directory/test/e2e"
	CGO_ENABLED=0 GOARCH=$1 go build "${build[@]}" -o "$directory/capmon" ./cmd/capmon
	CGO_ENABLED=0 GOARCH=$1 go test -c "${build[@]}" -o "$directory/e2e.test" ./test/e2e
	CGO_ENABLED=0 GOARCH=$1 go test -c "${build[@]}" -o "$directory/monitor.test" ./monitor
	scripts/images.sh programs "$1" "$directory"
	cp scripts/{dockerd,images,runc-capped}.sh "$directory/scripts"
	cp scripts/workloads/*.[ch] "$directory/scripts/workloads"
	cp -r test/e2e/testdata "$directory/test/e2e"
	cp -r packaging docs "$directory"
	cat >"$directory/run-tests" <<-'END'
		set -eu
		export CAPMON_E2E=1 CAPMON_GUEST=$1 CAPMON_BINARY=$PWD/capmon CAPMON_PROGRAMS=$PWD
		shift
		scripts/images.sh
		if [ "$CAPMON_GUEST" != 5.10 ]; then ./monitor.test -test.v -test.run 'InModules|Expected'; fi
		cd test/e2e
		# Some tests change settings of the machine: run one test at a time, and lockdown last.
		../../e2e.test -test.v -test.parallel 1 -test.timeout 85m -test.skip UnderLockdown "$@"
		if echo TestEveryHookUnderLockdown | grep --quiet --extended-regexp --regexp="$2"; then
			../../e2e.test -test.v -test.timeout 85m "$@" -test.run UnderLockdown
		fi
	END
}

# options GUEST prints the options of the test program.
options() {
	if [[ -n $only ]]; then
		echo "-test.run $only"
		return
	fi
	case $1 in
	5.10) echo "-test.run TooOld" ;;
	*-v1 | *-systemd*) echo "-test.run ReportsTheSame|TestCgroups|UnderSystemd -test.short" ;;
	*) if [[ -z $short && $thorough == *" $1 "* ]]; then echo "-test.run Hook|TestCgroups|NestedCgroups|ForgedCgroup|ContainerProfiles|AlternativesReplace|OnDemand|LowPortsAreSeen|$hostile"; else echo "-test.run Hook|NestedCgroups|ForgedCgroup|AlternativesReplace|LowPortsAreSeen -test.short"; fi ;;
	esac
}

# stamp GUEST prints the name of the file that exists if these tests have passed in the guest. The file
# has their log.
stamp() {
	local arch state
	arch=$(scripts/vm.sh arch "$1")
	state=$({
		scripts/vm.sh recipe "$1"
		options "$1"
		find "$work/$arch" -type f -print0 | sort -z | xargs -0 sha256sum
	} | sha256sum | head -c 16)
	echo "$passed/$1-$state"
}

# test_guest GUEST runs the tests in a guest. Their output is in $work/GUEST.log.
test_guest() {
	local file arch daemon=
	# With cgroup v1, dockerd does not use the systemd driver by default.
	if [[ $1 == *systemd* ]]; then daemon='"exec-opts": ["native.cgroupdriver=systemd"]'; fi
	file=$(stamp "$1") arch=$(scripts/vm.sh arch "$1")
	if [[ -e $file ]]; then
		echo "$1: passed before, nothing has changed since"
		return
	fi
	echo "$1: running the tests"
	# shellcheck disable=SC2046 # the options are separate words
	if scripts/vm.sh run "$1" "$work/$arch" env CAPMON_DAEMON_JSON="$daemon" scripts/dockerd.sh run /var/tmp/docker -- sh run-tests "$1" $(options "$1") >"$work/$1.log" 2>&1; then
		mv "$work/$1.log" "$file"
		echo "$1: passed"
		return
	fi
	echo "$1: FAILED"
	grep -vE '^ *(=== |--- (PASS|SKIP))' "$work/$1.log" | sed "s/^/    $1: /"
	return 1
}

# table prints the results of the guests: a line for each workload, a column
# for each guest, and a letter for each hook.
table() {
	local guest
	echo
	echo "f: fexit, t: tp_btf, k: kprobe gave the correct sets; a capital letter: the report says that checks may be missing;"
	echo "-: no hook saw the workload's checks, as expected"
	echo
	for guest in "$@"; do
		sed -nE "s/^ *row: (.*)/$guest \1/p" "$(stamp "$guest")"
	done | awk '
		!($1 in column) { column[$1] = ++columns; guest[columns] = $1 }
		!($2 in line) { line[$2] = ++lines; name[lines] = $2 }
		{ cell[line[$2], column[$1]] = $3 }
		END {
			printf "%-32s", ""
			for (c = 1; c <= columns; c++) printf " %s", guest[c]
			print ""
			for (l = 1; l <= lines; l++) {
				printf "%-32s", name[l]
				for (c = 1; c <= columns; c++) printf " %-" length(guest[c]) "s", cell[l, c]
				print ""
			}
		}'
}

short='' only=''
case ${1:-} in
--short)
	short=1
	shift
	;;
--run)
	[[ $# -gt 2 ]] || usage
	only=$2
	shift 2
	;;
esac
guests=("$@")
case ${1:-}-$short in
-1) guests=(6.1 6.12-systemd) ;;
-) mapfile -t guests < <(scripts/vm.sh guests) ;;
--*) usage ;;
esac

mkdir -p "$passed"
work=$(mktemp -d .cache/vm/work.XXXXXX)
trap 'rm -rf -- "$work"' EXIT
for guest in "${guests[@]}"; do
	arch=$(scripts/vm.sh arch "$guest")
	if [[ ! -d $work/$arch ]]; then fill "$arch"; fi
	scripts/vm.sh fetch "$guest"
done
# A guest has one processor.
code=0 running=0
for guest in "${guests[@]}"; do
	if ((running == $(nproc))); then
		wait -n || code=1
		running=$((running - 1))
	fi
	test_guest "$guest" &
	running=$((running + 1))
done
for ((; running > 0; running--)); do wait -n || code=1; done
if [[ $code == 0 ]]; then table "${guests[@]}"; fi
exit "$code"

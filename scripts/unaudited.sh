#!/bin/bash
# Lists the functions in the sources of a kernel that use a capability without an audited check:
#
#   unaudited.sh SOURCES     SOURCES is the directory of the sources, such as linux-source-6.12
#
# It prints one function per line, with the kind of use: "checks" for a check without an audit
# record or a check for set*id, "reads" for reading the sets of a credential. The output is in
# internal/classify/testdata/unaudited-VERSION.txt. The table of docs/classification.md has to
# name all these functions.
set -euo pipefail

if [[ $# != 1 || ! -f $1/kernel/capability.c ]]; then
	sed -n '2,/^set -/s/^# \{0,1\}//p' "${BASH_SOURCE[0]}" >&2
	exit 2
fi
cd "$1"

checks='(has_(ns_)?capability|[a-z_]*capable)_noaudit *\(|ns_capable_setid *\(|CAP_OPT_(NOAUDIT|INSETID)|PTRACE_MODE_NOAUDIT|\<ptracer_capable *\('
sets='(effective|permitted|inheritable|bset|ambient)'
reads="\<cap_(raised|issubset|intersect|isclear|isidentical) *\(|(->|\.)cap_$sets\>|parent_could_setfcap"

# functions WORD PATTERN prints WORD, the file and the function of each match. git shows the line that
# begins the function of a match. grep finds the files, since it is much faster.
functions() {
	local files
	mapfile -t files < <(grep -rlE --include='*.[ch]' "$2" arch block crypto drivers fs init io_uring ipc kernel lib mm net security virt)
	git -c core.attributesFile="$attributes" grep --no-index --no-color --show-function --line-number --extended-regexp "$2" -- "${files[@]}" |
		awk -v word="$1" '
			match($0, /=[0-9]+=/) {
				file = substr($0, 1, RSTART - 1)
				line = substr($0, RSTART + RLENGTH)
				name = ""
				if (match(line, /^SYSCALL_DEFINE[0-9]\([a-z0-9_]+/)) name = "sys_" substr(line, 17, RLENGTH - 16)
				else if (match(line, /[A-Za-z0-9_]+ *\(/)) name = substr(line, RSTART, RLENGTH - 1)
				sub(/ *$/, "", name)
			}
			match($0, /:[0-9]+:/) {
				text = substr($0, RSTART + RLENGTH)
				if (name !~ /^(if)?$/ && text !~ /^[ \t]*(\*[ \t\/]|\/\*)/ && text !~ /& [A-Z_]+_NOAUDIT/) print word, file, name
			}'
}

attributes=$(mktemp)
trap 'rm -f -- "$attributes"' EXIT
echo '*.[ch] diff=cpp' >"$attributes" # so that git does not mistake a label for the beginning of a function

{
	functions checks "$checks"
	functions reads "$reads"
} | grep -v '^checks kernel/capability.c ' | sort -u

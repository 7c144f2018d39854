#!/bin/bash
# Finds known vulnerabilities in the code that capmon calls, with govulncheck. The tests of test/compat, which is another
# module, are checked as well.
#
#   vulncheck.sh           with the version of the database below
#   vulncheck.sh latest    with the newest database, to see what a new VULNDB below would find
#
# The database comes as a Go module, and the Go checksum database knows its checksum. So this
# script works without access to vuln.go.dev. All versions are pinned, so the result does not
# change by itself. Update VULNDB often: "go list -m golang.org/x/vulndb@latest" prints the
# newest version.
set -euo pipefail

GOVULNCHECK=v1.9.0
VULNDB=v0.0.0-20261105234957-e22db6528018

# The accepted vulnerabilities, with the reason. An exception that is no longer needed is an error.
declare -A accepted=(
	[GO-2026-4883]="in the Docker daemon; capmon uses the client of the same module, which has no fixed version"
	[GO-2026-4887]="in the Docker daemon; capmon uses the client of the same module, which has no fixed version"
	[GO-2026-6238]="capmon reads BTF of the running kernel, of its own programs and of a file that root names, never of a container; the fixed cilium/ebpf v0.22.0 requires docker/cli v29, which does not build with the client above"
)

cd "$(dirname "${BASH_SOURCE[0]}")/.."
version=${1:-$VULNDB}

tool=.cache/bin/govulncheck-$GOVULNCHECK
if [[ ! -x $tool ]]; then
	GOBIN=$PWD/.cache/bin go install "golang.org/x/vuln/cmd/govulncheck@$GOVULNCHECK"
	mv .cache/bin/govulncheck "$tool"
fi

database=$(go mod download -json "golang.org/x/vulndb@$version" | jq --raw-output .Dir)/data/osv
if [[ ! -e $database/GO-2026-4887.json ]]; then
	echo "vulncheck: golang.org/x/vulndb@$version has no entries in data/osv: no code was checked" >&2
	exit 2
fi

report=$(mktemp)
trap 'rm -f "$report"' EXIT
"$tool" -db "file://$database" -format json ./... >"$report"
"$tool" -C test/compat -test -db "file://$database" -format json ./... >>"$report"
# If the trace of a finding names a function, capmon calls the vulnerable code.
mapfile -t found < <(jq --raw-output 'select(.finding.trace[0].function).finding.osv' "$report" | sort -u)

failed=0
declare -A seen=()
for id in "${found[@]}"; do
	seen[$id]=1
	if [[ -n ${accepted[$id]-} ]]; then continue; fi
	failed=1
	jq --raw-output --null-input --arg id "$id" '
		first(inputs | select(.osv.id == $id).osv) | "\(.id): \(.summary)\n  https://pkg.go.dev/vuln/\(.id)"' "$report"
	jq --raw-output --arg id "$id" '
		select(.finding.osv == $id and .finding.trace[0].function).finding |
		"  in \(.trace[0].module)@\(.trace[0].version), fixed in \(.fixed_version // "no version"), called by \(.trace[-1].package)"' "$report" | sort -u
done >&2
for id in "${!accepted[@]}"; do
	if [[ -z ${seen[$id]-} ]]; then
		failed=1
		echo "vulncheck: $id is accepted in scripts/vulncheck.sh but no longer found: remove the exception" >&2
	fi
done
echo "vulncheck: capmon calls code with ${#found[@]} known vulnerabilities, ${#accepted[@]} accepted (vulndb@$version, $(go env GOVERSION))"
exit "$failed"

#!/bin/bash
# Runs runc on hosts whose own capability bounding set is not full.
#
# On some hosts (small virtual machines, containers, units with CapabilityBoundingSet=),
# root lacks one or more capabilities. Docker's --privileged and --cap-add do not check
# which capabilities the host has. Docker before 23.0 requests every capability that the
# kernel knows, and runc then fails with "unable to apply caps: operation not permitted".
# No container can get a capability that the host lacks. So this script removes these
# capabilities from the five sets in the OCI specification, and then runs the real runc.
# It does not change anything else.
#
# Only the private daemon of dockerd.sh uses this script, and only on such hosts.
# CAPMON_RUNC names the real runc, if it is not the first one in PATH.
set -euo pipefail

# missing_capabilities prints the capabilities that the kernel knows and that the bounding
# set of this process lacks, as a JSON list of OCI names.
missing_capabilities() {
	# In the order of include/uapi/linux/capability.h: the index is the number.
	local names=(CHOWN DAC_OVERRIDE DAC_READ_SEARCH FOWNER FSETID KILL SETGID SETUID
		SETPCAP LINUX_IMMUTABLE NET_BIND_SERVICE NET_BROADCAST NET_ADMIN NET_RAW
		IPC_LOCK IPC_OWNER SYS_MODULE SYS_RAWIO SYS_CHROOT SYS_PTRACE SYS_PACCT
		SYS_ADMIN SYS_BOOT SYS_NICE SYS_RESOURCE SYS_TIME SYS_TTY_CONFIG MKNOD LEASE
		AUDIT_WRITE AUDIT_CONTROL SETFCAP MAC_OVERRIDE MAC_ADMIN SYSLOG WAKE_ALARM
		BLOCK_SUSPEND AUDIT_READ PERFMON BPF CHECKPOINT_RESTORE)
	local bounding last n list=""
	# sed reads the file at once. bash would seek after each line, and earlier lines can change their length.
	bounding=$(sed -n 's/^CapBnd:[[:space:]]*//p' /proc/self/status)
	if [[ -z $bounding ]]; then
		echo "runc-capped.sh: /proc/self/status has no CapBnd" >&2
		exit 1
	fi
	bounding=$((16#$bounding))
	last=$(</proc/sys/kernel/cap_last_cap)
	for ((n = 0; n <= last && n < ${#names[@]}; n++)); do
		if (((bounding >> n & 1) == 0)); then list+="${list:+,}\"CAP_${names[n]}\""; fi
	done
	echo "[$list]"
}

# strip FILE PATH removes the missing capabilities from the sets at the jq path PATH.
strip() {
	local file=$1 sets=$2 missing
	missing=$(missing_capabilities)
	local lacking=${missing//[][]/}
	if ! grep -qE "${lacking//,/|}" "$file"; then return; fi # faster than jq; most containers end here
	# jq reads numbers as floating point and would change the largest one ("no limit"), so sed replaces it.
	sed 's/:18446744073709551615\b/:"no limit"/g' "$file" | jq --argjson missing "$missing" \
		"if $sets then $sets |= map_values(if type == \"array\" then . - \$missing else . end) else . end" \
		| sed 's/"no limit"/18446744073709551615/g' >"$file.capped"
	# Rewrite the file in place, so that its owner and mode stay the same for containerd.
	cat "$file.capped" >"$file"
	rm -f "$file.capped"
}

if [[ ${1:-} == --missing ]]; then
	missing_capabilities
	exit
fi

command="" bundle="" process="" previous=""
for arg in "$@"; do
	case $arg in
	create | run | restore | exec)
		if [[ -z $command ]]; then command=$arg; fi
		;;
	--bundle=*) bundle=${arg#*=} ;;
	--process=*) process=${arg#*=} ;;
	esac
	case $previous in
	--bundle | -b) bundle=$arg ;;
	--process | -p) process=$arg ;;
	esac
	previous=$arg
done

case $command in
create | run | restore)
	if [[ -f ${bundle:-.}/config.json ]]; then strip "${bundle:-.}/config.json" .process.capabilities; fi
	;;
exec)
	if [[ -f $process ]]; then strip "$process" .capabilities; fi
	;;
esac

exec "${CAPMON_RUNC:-runc}" "$@"

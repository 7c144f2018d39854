#!/bin/bash
# Runs a command with the kernel settings that the tests need, and then restores the settings.
#
#   test-settings.sh COMMAND [ARGUMENT...]
#
# kernel/rcu_expedited: The kernel waits for a grace period when it closes a packet socket,
# removes a namespace or attaches a BPF program. This takes ten milliseconds or more, and the
# tests do it thousands of times. An expedited grace period takes microseconds and interrupts
# all processors.
#
# fs.pipe-user-pages-soft: The pipes of all of root's processes on the host count together.
# Beyond the limit, the kernel checks two capabilities when a container creates a pipe. Many
# tests compare the checks of a container exactly. With a high limit, their results do not
# depend on the other containers of the host. The limit is not 0 (no limit), because one test
# exceeds it.
#
# Several commands can run at the same time. The settings are restored when the last one has
# ended. If a setting cannot be changed, the command runs without it.
set -euo pipefail

lock=/run/capmon-test-settings.lock
declare -A wanted=([/sys/kernel/rcu_expedited]=1 [/proc/sys/fs/pipe-user-pages-soft]=262144) before=()

# change changes the settings and stores their old values in $before.
change() {
	local setting value
	for setting in "${!wanted[@]}"; do
		value=$(<"$setting") || continue
		if [[ $value == "${wanted[$setting]}" ]]; then continue; fi
		if echo "${wanted[$setting]}" >"$setting"; then before[$setting]=$value; fi
	done
}

restore() {
	local setting
	for setting in "${!before[@]}"; do echo "${before[$setting]}" >"$setting"; done
}

# hold PID changes the settings, closes stdout, and restores them when process PID has ended,
# however it ends, and no other command needs them. A command holds the lock while it needs them.
hold() {
	exec 9>>"$lock"
	flock --shared 9
	change
	exec >/dev/null
	tail --pid="$1" --follow /dev/null
	flock --exclusive 9
	restore
}

if [[ ${1:-} == --hold ]]; then
	hold "$2"
	exit
fi
if (($# == 0)); then
	sed -n '2,/^set -/s/^# \{0,1\}//p' "${BASH_SOURCE[0]}" >&2
	exit 2
fi
# The output ends when the settings are changed.
: "$(setsid "${BASH_SOURCE[0]}" --hold $$ </dev/null 2>/dev/null &)"
exec "$@"

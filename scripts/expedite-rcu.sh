#!/bin/bash
# Runs a command with expedited RCU grace periods.
#
#   expedite-rcu.sh COMMAND [ARGUMENT...]
#
# The kernel waits for a grace period when it closes a packet socket, removes a namespace or
# attaches a BPF program. This takes ten milliseconds or more, and the tests do it thousands of
# times. An expedited grace period takes microseconds and interrupts all processors. If the
# setting cannot be changed, the command runs without it, but slower.
set -euo pipefail

setting=/sys/kernel/rcu_expedited

if (($# == 0)); then
	sed -n '2,/^set -/s/^# \{0,1\}//p' "${BASH_SOURCE[0]}" >&2
	exit 2
fi
before=$(cat "$setting" 2>/dev/null) || before=0
if [[ $before == 0 ]] && { echo 1 >"$setting"; } 2>/dev/null; then
	# This process restores the setting, however the command ends.
	setsid sh -c "tail --pid=$$ --follow /dev/null; echo 0 >$setting" </dev/null >/dev/null 2>&1 &
fi
exec "$@"

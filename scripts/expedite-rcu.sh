#!/bin/bash
# Runs a command while the kernel ends RCU grace periods as early as it can.
#
#   expedite-rcu.sh COMMAND [ARGUMENT...]
#
# The kernel waits for a grace period when it closes a packet socket, removes a namespace or
# attaches a BPF program: ten milliseconds and more. The tests do all this by the thousand. An
# expedited grace period takes microseconds and interrupts all processors. If the setting cannot
# be changed, the command runs anyway, only slower.
set -euo pipefail

setting=/sys/kernel/rcu_expedited

if (($# == 0)); then
	sed -n '2,/^set -/s/^# \{0,1\}//p' "${BASH_SOURCE[0]}" >&2
	exit 2
fi
before=$(cat "$setting" 2>/dev/null) || before=0
if [[ $before == 0 ]] && { echo 1 >"$setting"; } 2>/dev/null; then
	# Whatever ends the command, this process puts the setting back.
	setsid sh -c "tail --pid=$$ --follow /dev/null; echo 0 >$setting" </dev/null >/dev/null 2>&1 &
fi
exec "$@"

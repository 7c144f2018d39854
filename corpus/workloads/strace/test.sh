#!/bin/bash
# shellcheck source-path=SCRIPTDIR source=../../client.sh
. "$(dirname "$0")/../../client.sh"
eventually prints 'Process [0-9]+ attached' logs
# The container ends with the process, so that the client may be killed with it.
client pkill -x sleep || true
ends_well
prints 'killed by SIGTERM' logs

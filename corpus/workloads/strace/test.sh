#!/bin/bash
# shellcheck source-path=SCRIPTDIR source=../../client.sh
. "$(dirname "$0")/../../client.sh"
eventually prints 'Process [0-9]+ attached' logs
# The container ends when the process ends, which may also kill the client.
client pkill -x sleep || true
ends_well
prints 'killed by SIGTERM' logs

#!/bin/bash
# shellcheck source-path=SCRIPTDIR source=../../client.sh
. "$(dirname "$0")/../../client.sh"
# A container inherits the nice value of the engine. The first nice raises it to 19, the highest value,
# so the second one always lowers it to -5.
ends_well
prints '^-5$' logs
prints '^realtime: prio 2$' logs

#!/bin/bash
# shellcheck source-path=SCRIPTDIR source=../../client.sh
. "$(dirname "$0")/../../client.sh"
ends_well
prints '^character special file 666 0:0$' logs
prints '^regular file 2755 65534:65534$' logs

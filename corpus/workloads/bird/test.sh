#!/bin/bash
# shellcheck source-path=SCRIPTDIR source=../../client.sh
. "$(dirname "$0")/../../client.sh"
eventually prints '^blackhole 10.98.0.0/16 proto bird' client ip route
runs_as bird bird bird

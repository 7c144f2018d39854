#!/bin/bash
# shellcheck source-path=SCRIPTDIR source=../../client.sh
. "$(dirname "$0")/../../client.sh"
eventually prints '^Stratum *: 10' client chronyc -h 127.0.0.1 tracking

#!/bin/bash
# shellcheck source-path=SCRIPTDIR source=../../client.sh
. "$(dirname "$0")/../../client.sh"
ends_well
prints '^root$' logs
prints '^ +1 +100000 +65535$' logs

#!/bin/bash
# shellcheck source-path=SCRIPTDIR source=../../client.sh
. "$(dirname "$0")/../../client.sh"
ends_well
prints '^/tmp/server cap_net_bind_service=ep$' logs

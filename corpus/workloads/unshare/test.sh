#!/bin/bash
# shellcheck source-path=SCRIPTDIR source=../../client.sh
. "$(dirname "$0")/../../client.sh"
ends_well
prints '^/mnt +tmpfs +tmpfs' logs
prints '^inside$' logs
prints '^ *[2-9]$' logs

#!/bin/bash
# shellcheck source-path=SCRIPTDIR source=../../client.sh
. "$(dirname "$0")/../../client.sh"
ends_well
prints 'tcp dport 25 .*drop' logs

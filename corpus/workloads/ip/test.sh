#!/bin/bash
# shellcheck source-path=SCRIPTDIR source=../../client.sh
. "$(dirname "$0")/../../client.sh"
ends_well
prints '^10.98.1.1 via 10.99.0.2 dev front' logs
prints '^qdisc tbf' logs

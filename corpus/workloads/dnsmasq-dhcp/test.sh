#!/bin/bash
# shellcheck source-path=SCRIPTDIR source=../../client.sh
. "$(dirname "$0")/../../client.sh"
eventually prints '^10\.99\.0\.(1[0-9]|20)$' client perl /srv/discover.pl

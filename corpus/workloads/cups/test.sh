#!/bin/bash
# shellcheck source-path=SCRIPTDIR source=../../client.sh
. "$(dirname "$0")/../../client.sh"
eventually client lp -d test -o raw /etc/debian_version
eventually prints '^lp printed 12' client cat /tmp/printed

#!/bin/bash
# shellcheck source-path=SCRIPTDIR source=../../client.sh
. "$(dirname "$0")/../../client.sh"
eventually prints '^hello$' client curl -fsS --proxy http://127.0.0.1:3128 http://127.0.0.1/
runs_as proxy proxy squid

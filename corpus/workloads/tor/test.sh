#!/bin/bash
# shellcheck source-path=SCRIPTDIR source=../../client.sh
. "$(dirname "$0")/../../client.sh"
eventually prints 'SOCKS' client curl -sS http://127.0.0.1:9050/

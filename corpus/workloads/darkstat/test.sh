#!/bin/bash
# shellcheck source-path=SCRIPTDIR source=../../client.sh
. "$(dirname "$0")/../../client.sh"
eventually prints 'darkstat' client curl -fsS http://127.0.0.1:667/
runs_as nobody nogroup darkstat

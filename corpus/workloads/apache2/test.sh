#!/bin/bash
# shellcheck source-path=SCRIPTDIR source=../../client.sh
. "$(dirname "$0")/../../client.sh"
eventually prints 'Apache2 Debian Default Page' client curl -fsS http://127.0.0.1/
runs_as www-data www-data apache2

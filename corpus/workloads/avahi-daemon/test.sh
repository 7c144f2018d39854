#!/bin/bash
# shellcheck source-path=SCRIPTDIR source=../../client.sh
. "$(dirname "$0")/../../client.sh"
address=$(docker inspect --format '{{range .NetworkSettings.Networks}}{{.IPAddress}}{{end}}' "$CONTAINER")
eventually prints "^$address$" client dig +short +timeout=1 +tries=1 -p 5353 "@$address" corpus.local
runs_as avahi avahi avahi-daemon

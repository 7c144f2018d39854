#!/bin/bash
# shellcheck source-path=SCRIPTDIR source=../../client.sh
. "$(dirname "$0")/../../client.sh"
ask() {
	client bash -c '{ printf "\x23"; head -c 47 /dev/zero; } | nc -u -w 1 127.0.0.1 123 | wc -c'
}
eventually prints '^48$' ask
runs_as ntpd ntpd ntpd

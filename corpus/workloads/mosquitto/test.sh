#!/bin/bash
# shellcheck source-path=SCRIPTDIR source=../../client.sh
. "$(dirname "$0")/../../client.sh"
eventually client mosquitto_pub -h 127.0.0.1 -t topic -r -m hello
prints '^hello$' client mosquitto_sub -h 127.0.0.1 -t topic -C 1

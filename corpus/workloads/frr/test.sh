#!/bin/bash
# shellcheck source-path=SCRIPTDIR source=../../client.sh
. "$(dirname "$0")/../../client.sh"
eventually prints '^blackhole 10.98.0.0/16 proto static' client ip route
runs_as frr frr zebra
runs_as frr frr staticd

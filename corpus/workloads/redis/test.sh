#!/bin/bash
# shellcheck source-path=SCRIPTDIR source=../../client.sh
. "$(dirname "$0")/../../client.sh"
eventually prints PONG client redis-cli ping
prints OK client redis-cli set key value
prints value client redis-cli get key
prints OK client redis-cli save
prints '^redis$' client stat -c %U /data/dump.rdb

#!/bin/bash
# shellcheck source-path=SCRIPTDIR source=../../client.sh
. "$(dirname "$0")/../../client.sh"
eventually prints '^node_load1 ' client curl -fsS http://127.0.0.1:9100/metrics

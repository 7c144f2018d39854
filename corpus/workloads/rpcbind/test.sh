#!/bin/bash
# shellcheck source-path=SCRIPTDIR source=../../client.sh
. "$(dirname "$0")/../../client.sh"
eventually prints '100000 +[0-9]+ +udp +111' client rpcinfo -p 127.0.0.1
runs_as _rpc nogroup rpcbind

#!/bin/bash
# shellcheck source-path=SCRIPTDIR source=../../client.sh
. "$(dirname "$0")/../../client.sh"
server=ftp://tester:secret@127.0.0.1
eventually prints '^hello$' client curl -fsS $server/hello
prints ' hello$' client curl -fsS $server/
client curl -fsS -T /etc/hostname $server/

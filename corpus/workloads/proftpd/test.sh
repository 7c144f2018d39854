#!/bin/bash
# shellcheck source-path=SCRIPTDIR source=../../client.sh
. "$(dirname "$0")/../../client.sh"
eventually prints '^hello$' client curl -fsS ftp://tester:secret@127.0.0.1/hello
client curl -fsS -T /etc/hostname ftp://tester:secret@127.0.0.1/

#!/bin/bash
# shellcheck source-path=SCRIPTDIR source=../../client.sh
. "$(dirname "$0")/../../client.sh"
eventually prints '^hello$' client cat /mnt/hello
client test -w /mnt/public
client sh -c 'echo changed >/mnt/public/file'
prints '^changed$' client cat /upper/data/public/file

#!/bin/bash
# shellcheck source-path=SCRIPTDIR source=../../client.sh
. "$(dirname "$0")/../../client.sh"
eventually prints '^nobody$' client stat -c %U /mnt/hello
prints '^hello$' client cat /mnt/hello

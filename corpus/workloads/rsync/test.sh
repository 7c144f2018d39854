#!/bin/bash
# shellcheck source-path=SCRIPTDIR source=../../client.sh
. "$(dirname "$0")/../../client.sh"
pull() {
	client rsync rsync://127.0.0.1/files/hello /tmp/pulled
}
eventually pull
prints '^hello$' client cat /tmp/pulled

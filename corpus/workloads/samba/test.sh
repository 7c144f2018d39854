#!/bin/bash
# shellcheck source-path=SCRIPTDIR source=../../client.sh
. "$(dirname "$0")/../../client.sh"
list() {
	client smbclient -N -g -L 127.0.0.1
}
eventually prints 'Disk.files' list

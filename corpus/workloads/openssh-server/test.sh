#!/bin/bash
# shellcheck source-path=SCRIPTDIR source=../../client.sh
. "$(dirname "$0")/../../client.sh"
login() {
	client ssh -q -i /client.key -o StrictHostKeyChecking=no -o UserKnownHostsFile=/dev/null "$@"
}
eventually prints '^tester$' login tester@127.0.0.1 id -un
prints '^/dev/pts/' login -tt tester@127.0.0.1 tty

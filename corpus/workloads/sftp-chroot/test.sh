#!/bin/bash
# shellcheck source-path=SCRIPTDIR source=../../client.sh
. "$(dirname "$0")/../../client.sh"
upload() {
	client sftp -q -i /client.key -o StrictHostKeyChecking=no -o UserKnownHostsFile=/dev/null \
		-b - tester@127.0.0.1 <<<$'put /etc/hostname upload/file\nls -l upload'
}
eventually prints 'upload/file' upload

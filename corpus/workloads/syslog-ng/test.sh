#!/bin/bash
# shellcheck source-path=SCRIPTDIR source=../../client.sh
. "$(dirname "$0")/../../client.sh"
group_adm_reads() {
	docker exec --user 65534:4 "$CONTAINER" cat /var/log/test
}
eventually client test -S /dev/log
client logger -t corpus hello
eventually prints 'corpus: hello' group_adm_reads

#!/bin/bash
# shellcheck source-path=SCRIPTDIR source=../../client.sh
. "$(dirname "$0")/../../client.sh"
send() {
	client curl -fsS smtp://127.0.0.1 --mail-from a@localhost --mail-rcpt tester@localhost -T - <<<$'Subject: hello\n\nhello'
}
received() {
	docker exec --user tester "$CONTAINER" sh -c 'cat /home/tester/Maildir/new/*'
}
eventually send
eventually prints 'Subject: hello' received

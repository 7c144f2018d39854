#!/bin/bash
# shellcheck source-path=SCRIPTDIR source=../../client.sh
. "$(dirname "$0")/../../client.sh"
eventually prints 'INBOX' client curl -fsS imap://tester:secret@127.0.0.1/

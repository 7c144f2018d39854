#!/bin/bash
# shellcheck source-path=SCRIPTDIR source=../../client.sh
. "$(dirname "$0")/../../client.sh"
send() {
	client bash -c 'echo hello >/dev/udp/127.0.0.1/9'
	prints '127.0.0.1.9: UDP' logs
}
eventually send

#!/bin/bash
# shellcheck source-path=SCRIPTDIR source=../../client.sh
. "$(dirname "$0")/../../client.sh"
store() {
	client nc -q1 127.0.0.1 11211 <<<$'set key 0 0 5\r\nvalue\r\nget key\r\nquit\r'
}
eventually prints '^value' store

#!/bin/bash
# shellcheck source-path=SCRIPTDIR source=../../client.sh
. "$(dirname "$0")/../../client.sh"
ask() {
	client nc -q1 127.0.0.1 10001 <<<'get a@other.example'
}
eventually prints '^200 SRS0=.*=other.example=a@example.com' ask
runs_as nobody nogroup postsrsd

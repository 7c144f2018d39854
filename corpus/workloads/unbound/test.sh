#!/bin/bash
# shellcheck source-path=SCRIPTDIR source=../../client.sh
. "$(dirname "$0")/../../client.sh"
eventually prints 'localhost has address 127.0.0.1' client host -t A localhost 127.0.0.1

#!/bin/bash
# shellcheck source-path=SCRIPTDIR source=../../client.sh
. "$(dirname "$0")/../../client.sh"
ask() {
	client env REQUEST_METHOD=GET SCRIPT_FILENAME=/srv/hello.php SCRIPT_NAME=/hello.php cgi-fcgi -bind -connect 127.0.0.1:9000
}
eventually prints '^hello from www-data$' ask

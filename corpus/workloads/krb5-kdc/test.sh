#!/bin/bash
# shellcheck source-path=SCRIPTDIR source=../../client.sh
. "$(dirname "$0")/../../client.sh"
login() {
	client sh -c 'kinit tester <<-END && klist
		secret
		END'
}
eventually prints 'krbtgt/TEST@TEST' login

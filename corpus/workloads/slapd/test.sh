#!/bin/bash
# shellcheck source-path=SCRIPTDIR source=../../client.sh
. "$(dirname "$0")/../../client.sh"
eventually prints 'namingContexts' client ldapsearch -x -H ldap://127.0.0.1 -s base -b '' namingContexts

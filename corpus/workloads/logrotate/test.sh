#!/bin/bash
# shellcheck source-path=SCRIPTDIR source=../../client.sh
. "$(dirname "$0")/../../client.sh"
ends_well
prints '^/var/log/test/access.log 640 www-data:adm$' logs
prints '^/var/log/test/access.log.1.gz 640 www-data:adm$' logs

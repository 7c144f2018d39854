#!/bin/bash
# shellcheck source-path=SCRIPTDIR source=../../client.sh
. "$(dirname "$0")/../../client.sh"
eventually prints '^ *2$' client psql -h 127.0.0.1 -U postgres -c 'select 1+1'
client psql -h 127.0.0.1 -U postgres -c 'create table t (i int); insert into t values (42)'
prints '^ *42$' client psql -h 127.0.0.1 -U postgres -c 'select i from t'

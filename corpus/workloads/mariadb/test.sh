#!/bin/bash
# shellcheck source-path=SCRIPTDIR source=../../client.sh
. "$(dirname "$0")/../../client.sh"
eventually prints '^2$' client mariadb -h 127.0.0.1 -u root -N -e 'select 1+1'
client mariadb -h 127.0.0.1 -u root -e 'create database d; create table d.t (i int); insert into d.t values (42)'
prints '^42$' client mariadb -h 127.0.0.1 -u root -N -e 'select i from d.t'

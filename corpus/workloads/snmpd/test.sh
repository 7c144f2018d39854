#!/bin/bash
# shellcheck source-path=SCRIPTDIR source=../../client.sh
. "$(dirname "$0")/../../client.sh"
eventually prints 'STRING: "?here' client snmpget -v2c -c public 127.0.0.1 1.3.6.1.2.1.1.6.0
runs_as Debian-snmp Debian-snmp snmpd

#!/bin/bash
# shellcheck source-path=SCRIPTDIR source=../../client.sh
. "$(dirname "$0")/../../client.sh"
eventually prints '^tun0 .* 10.99.0.1 peer 10.99.0.2/32' client ip -brief address
eventually runs_as nobody nogroup openvpn

# shellcheck shell=sh
chown frr:frr /etc/frr/test.conf
install -d -o frr -g frr /run/frr

# shellcheck shell=sh
chmod 644 /etc/keepalived/test.conf

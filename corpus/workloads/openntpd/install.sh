# shellcheck shell=sh
chmod 644 /etc/openntpd/test.conf
mkdir -p /run/openntpd

# shellcheck shell=sh
chmod 644 /etc/bird/test.conf
mkdir -p /run/bird
chown bird:bird /run/bird

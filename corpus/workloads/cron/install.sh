# shellcheck shell=sh
chmod 644 /etc/cron.d/test

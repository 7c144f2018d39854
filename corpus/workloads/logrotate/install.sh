# shellcheck shell=sh
chmod 644 /etc/logrotate.test
mkdir /var/log/test
install -m 640 -o www-data -g adm /etc/passwd /var/log/test/access.log

# shellcheck shell=sh
useradd --create-home tester
postconf -e maillog_file=/dev/stdout 'mydestination=localhost' myhostname=localhost inet_protocols=ipv4 smtputf8_enable=no

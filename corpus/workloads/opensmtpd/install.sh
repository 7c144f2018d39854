# shellcheck shell=sh
useradd --create-home tester
chmod 644 /etc/smtpd.test

# shellcheck shell=sh
useradd --create-home tester
echo tester:secret | chpasswd
echo 'disable_plaintext_auth = no' >/etc/dovecot/conf.d/99-test.conf

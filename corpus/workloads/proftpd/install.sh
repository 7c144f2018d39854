# shellcheck shell=sh
useradd --create-home tester
echo tester:secret | chpasswd
echo hello >/home/tester/hello
printf 'DefaultRoot ~\nUseIPv6 off\n' >/etc/proftpd/conf.d/test.conf

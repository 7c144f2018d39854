# shellcheck shell=sh
echo "shutdown_lifetime 0 seconds" >>/etc/squid/squid.conf

# shellcheck shell=sh
rm /etc/unbound/unbound.conf.d/root-auto-trust-anchor-file.conf # dns-root-data is not there

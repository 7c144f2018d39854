# shellcheck shell=sh
openvpn --genkey secret /etc/openvpn/static.key

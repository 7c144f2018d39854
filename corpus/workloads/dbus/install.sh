# shellcheck shell=sh
mkdir -p /run/dbus

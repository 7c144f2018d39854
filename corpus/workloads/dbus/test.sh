#!/bin/bash
# shellcheck source-path=SCRIPTDIR source=../../client.sh
. "$(dirname "$0")/../../client.sh"
eventually prints 'string "org.freedesktop.DBus"' client dbus-send --system --print-reply --dest=org.freedesktop.DBus / org.freedesktop.DBus.ListNames
runs_as messagebus messagebus dbus-daemon

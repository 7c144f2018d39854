# shellcheck shell=sh
setcap cap_net_bind_service=+ep /usr/local/bin/server # as in the image of caddy

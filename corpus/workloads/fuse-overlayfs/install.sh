# shellcheck shell=sh
mkdir -m 777 /srv/public

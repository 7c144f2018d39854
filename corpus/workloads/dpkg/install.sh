# shellcheck shell=sh
cd /srv || exit
archives='cron cron-daemon-common sensible-utils'
# shellcheck disable=SC2086 # three names
apt-get -qq download $archives || { apt-get -qq update && apt-get -qq download $archives; }

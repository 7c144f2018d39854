# shellcheck shell=sh
mkdir /srv/tree
echo text >/srv/tree/file
cp /usr/bin/true /srv/tree/set-group-id
chown 65534:65534 /srv/tree/*
chmod 2755 /srv/tree/set-group-id
tar -cf /srv/tree.tar -C /srv tree

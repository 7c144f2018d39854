# shellcheck shell=sh
printf '[files]\npath = /srv\nguest ok = yes\n' >>/etc/samba/smb.conf

# shellcheck shell=sh
useradd --create-home tester
# As images for rootless containers have them: set-user-ID root would need SYS_ADMIN.
chmod u-s /usr/bin/newuidmap /usr/bin/newgidmap
setcap cap_setuid=ep /usr/bin/newuidmap
setcap cap_setgid=ep /usr/bin/newgidmap

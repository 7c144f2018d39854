# shellcheck shell=sh
useradd --create-home tester
# It is due when the container starts.
su tester -c 'echo "id -un >/tmp/ran" | at now'

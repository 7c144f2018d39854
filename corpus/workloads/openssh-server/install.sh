# shellcheck shell=sh
mkdir -p /run/sshd
useradd --create-home --shell /bin/bash tester
ssh-keygen -q -t ed25519 -N '' -f /client.key
chmod 644 /client.key # ssh takes it for the key of a client that is not its owner
install -d -m 700 -o tester -g tester /home/tester/.ssh
install -m 600 -o tester -g tester /client.key.pub /home/tester/.ssh/authorized_keys

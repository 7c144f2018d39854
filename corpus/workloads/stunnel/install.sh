# shellcheck shell=sh
openssl req -x509 -newkey rsa:2048 -nodes -subj /CN=test -keyout /key.pem -out /cert.pem 2>/dev/null
cat /key.pem /cert.pem >/etc/stunnel/test.pem
chmod 600 /etc/stunnel/test.pem

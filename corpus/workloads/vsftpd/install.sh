# shellcheck shell=sh
# It needs --init: as PID 1 it would inherit the child of a session that ends before it,
# of which its table of sessions knows nothing, and crash (SIGSEGV).
useradd --create-home tester
echo tester:secret | chpasswd
echo hello >/home/tester/hello
mkdir -p /run/vsftpd/empty
cat >>/etc/vsftpd.conf <<-END
	background=NO
	write_enable=YES
	chroot_local_user=YES
	allow_writeable_chroot=YES
END

# Asks the DHCP server for an address, as a relay does, which needs no raw socket.
use strict;
use Socket;

my $relay = inet_aton('10.99.0.1');
socket(my $socket, PF_INET, SOCK_DGRAM, 0) or die $!;
setsockopt($socket, SOL_SOCKET, SO_REUSEADDR, 1) or die $!;
bind($socket, pack_sockaddr_in(67, $relay)) or die $!;
my $discover = pack('C4 N n2 x12 a4 a16 x64 x128 N C4',
	1, 1, 6, 1, 12345, 0, 0, $relay, "\x02\0\0\0\0\x01", 0x63825363, 53, 1, 1, 255);
send($socket, $discover . "\0" x 60, 0, pack_sockaddr_in(67, INADDR_LOOPBACK)) or die $!;
recv($socket, my $offer, 1500, 0) // die $!;
print inet_ntoa(substr($offer, 16, 4)), "\n";

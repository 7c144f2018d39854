package syscalls

import (
	"strings"
	"testing"

	"github.com/elastic/go-seccomp-bpf/arch"
	"golang.org/x/sys/unix"
)

type args = [6]uint64

// number returns the number of a system call of x86_64, on any machine.
func number(name string) int { return arch.X86_64.SyscallNames[name] }

// called returns a system call of x86_64 with recorded arguments.
func called(nr int, a args) Call { return Call{Arch: x8664, Nr: nr, HasArgs: true, Args: a} }

func TestCallString(t *testing.T) {
	const minusOne = uint64(^uint32(0)) // as BPF records an int
	for _, test := range []struct {
		want string
		call Call
	}{
		{"socket(AF_INET, SOCK_RAW, ICMP)", called(number("socket"), args{unix.AF_INET, unix.SOCK_RAW, unix.IPPROTO_ICMP})},
		{"socket(AF_INET6, SOCK_RAW, ICMPV6)", called(number("socket"), args{unix.AF_INET6, unix.SOCK_RAW | unix.SOCK_CLOEXEC, unix.IPPROTO_ICMPV6})},
		{"socket(AF_INET, SOCK_RAW, 200)", called(number("socket"), args{unix.AF_INET, unix.SOCK_RAW | unix.SOCK_NONBLOCK, 200})},
		{"socket(AF_PACKET, SOCK_DGRAM, ETH_P_ALL)", called(number("socket"), args{unix.AF_PACKET, unix.SOCK_DGRAM, 0x0300})},
		{"socket(AF_PACKET, SOCK_RAW, 0x88f7)", called(number("socket"), args{unix.AF_PACKET, unix.SOCK_RAW, 0xf788})},
		{"socket(AF_PACKET, SOCK_RAW, 0)", called(number("socket"), args{unix.AF_PACKET, unix.SOCK_RAW})},
		{"socket(AF_NETLINK, SOCK_RAW, NETLINK_AUDIT)", called(number("socket"), args{unix.AF_NETLINK, unix.SOCK_RAW, unix.NETLINK_AUDIT})},
		{"socket(AF_VSOCK, SOCK_STREAM, 0)", called(number("socket"), args{unix.AF_VSOCK, unix.SOCK_STREAM})},
		{"socket(4294967295, 15, 4294967295)", called(number("socket"), args{minusOne, minusOne, minusOne})},

		{"bind(AF_INET, port 80)", Call{Arch: x8664, Nr: number("bind"), HasArgs: true, Family: unix.AF_INET, Port: 80}},
		{"bind(AF_INET6, port 443)", Call{Arch: x8664, Nr: number("bind"), HasArgs: true, Family: unix.AF_INET6, Port: 443}},
		{"bind(AF_UNSPEC, port 80)", Call{Arch: x8664, Nr: number("bind"), HasArgs: true, Port: 80}},
		{"bind(AF_NETLINK)", Call{Arch: x8664, Nr: number("bind"), HasArgs: true, Family: unix.AF_NETLINK, Port: 80}},
		{"bind(65535)", Call{Arch: x8664, Nr: number("bind"), HasArgs: true, Family: 65535, Port: 80}},
		{"bind", Call{Arch: x8664, Nr: number("bind"), HasArgs: true}},

		{"mount(tmpfs)", Call{Arch: x8664, Nr: number("mount"), HasArgs: true, Detail: "tmpfs"}},
		{"mount(fuse.sshfs)", Call{Arch: x8664, Nr: number("mount"), HasArgs: true, Detail: "fuse.sshfs"}},
		{"mount", Call{Arch: x8664, Nr: number("mount"), HasArgs: true}},
		{`mount("x) setuid(0")`, Call{Arch: x8664, Nr: number("mount"), HasArgs: true, Detail: "x) setuid(0"}},
		{`mount("\x1b[2J\n\xff\u202e")`, Call{Arch: x8664, Nr: number("mount"), HasArgs: true, Detail: "\x1b[2J\n\xff\u202e"}},

		{"ioctl(SIOCGIFFLAGS)", called(number("ioctl"), args{3, unix.SIOCGIFFLAGS})},
		{"ioctl(TUNSETIFF)", called(number("ioctl"), args{3, 0xffffffff<<32 | unix.TUNSETIFF})},
		{"ioctl(0x894f)", called(number("ioctl"), args{3, 0x894f})},

		{"setsockopt(SOL_SOCKET, SO_MARK)", called(number("setsockopt"), args{3, unix.SOL_SOCKET, unix.SO_MARK})},
		{"setsockopt(IPPROTO_IP, IP_TRANSPARENT)", called(number("setsockopt"), args{3, unix.IPPROTO_IP, unix.IP_TRANSPARENT})},
		{"setsockopt(IPPROTO_IP, IPT_SO_SET_REPLACE)", called(number("setsockopt"), args{3, unix.IPPROTO_IP, 64})},
		{"setsockopt(IPPROTO_IPV6, IPV6_DSTOPTS)", called(number("setsockopt"), args{3, unix.IPPROTO_IPV6, unix.IPV6_DSTOPTS})},
		{"setsockopt(IPPROTO_TCP, TCP_CONGESTION)", called(number("setsockopt"), args{3, unix.IPPROTO_TCP, unix.TCP_CONGESTION})},
		{"setsockopt(SOL_SOCKET, 999)", called(number("setsockopt"), args{3, unix.SOL_SOCKET, 999})},
		{"setsockopt(999, 1)", called(number("setsockopt"), args{3, 999, 1})},

		{"prctl(PR_CAPBSET_DROP, NET_RAW)", called(number("prctl"), args{unix.PR_CAPBSET_DROP, unix.CAP_NET_RAW})},
		{"prctl(PR_CAPBSET_DROP, 269)", called(number("prctl"), args{unix.PR_CAPBSET_DROP, 0x100 | unix.CAP_NET_RAW})},
		{"prctl(PR_CAPBSET_DROP, 41)", called(number("prctl"), args{unix.PR_CAPBSET_DROP, unix.CAP_LAST_CAP + 1})},
		{"prctl(PR_CAP_AMBIENT_RAISE, NET_BIND_SERVICE)", called(number("prctl"), args{unix.PR_CAP_AMBIENT, unix.PR_CAP_AMBIENT_RAISE, unix.CAP_NET_BIND_SERVICE})},
		{"prctl(PR_CAP_AMBIENT_CLEAR_ALL)", called(number("prctl"), args{unix.PR_CAP_AMBIENT, unix.PR_CAP_AMBIENT_CLEAR_ALL})},
		{"prctl(PR_CAP_AMBIENT)", called(number("prctl"), args{unix.PR_CAP_AMBIENT, 77, 1})},
		{"prctl(PR_SET_SECUREBITS)", called(number("prctl"), args{unix.PR_SET_SECUREBITS})},
		{"prctl(12345)", called(number("prctl"), args{12345})},

		{"unshare(CLONE_NEWNS|CLONE_NEWUSER)", called(number("unshare"), args{unix.CLONE_NEWUSER | unix.CLONE_NEWNS | unix.CLONE_FS})},
		{"unshare", called(number("unshare"), args{unix.CLONE_FILES})},
		{"clone(CLONE_NEWUSER)", called(number("clone"), args{unix.CLONE_NEWUSER | uint64(unix.SIGCHLD)})},
		{"clone", called(number("clone"), args{unix.CLONE_VM | uint64(unix.SIGCHLD)})},
		{"clone3(CLONE_NEWPID)", called(number("clone3"), args{unix.CLONE_NEWPID})},
		{"setns(CLONE_NEWNET)", called(number("setns"), args{3, unix.CLONE_NEWNET})},
		{"setns", called(number("setns"), args{3, 0})},

		{"setuid(0)", called(number("setuid"), args{0})},
		{"setgid(4294967294)", called(number("setgid"), args{minusOne - 1})},
		{"setresuid(-1, 0, -1)", called(number("setresuid"), args{minusOne, 0, ^uint64(0)})},
		{"setreuid(1000, -1)", called(number("setreuid"), args{1000, minusOne})},
		{"setfsuid(33)", called(number("setfsuid"), args{33})},

		{"chmod(0644)", called(number("chmod"), args{0, 0o644})},
		{"fchmod(02755)", called(number("fchmod"), args{3, 0o2755})},
		{"fchmodat(0000)", called(number("fchmodat"), args{3, 0, 0})},
		{"fchmodat2(04711)", called(number("fchmodat2"), args{3, 0, 0o104711})},
		{"mknod(S_IFCHR 0666)", called(number("mknod"), args{0, unix.S_IFCHR | 0o666})},
		{"mknodat(S_IFBLK 0660)", called(number("mknodat"), args{3, 0, unix.S_IFBLK | 0o660})},
		{"mknod(S_IFREG 0600)", called(number("mknod"), args{0, 0o600})},
		{"mknod(0xf000 07777)", called(number("mknod"), args{0, ^uint64(0)})},

		{"kill(SIGTERM)", called(number("kill"), args{1, uint64(unix.SIGTERM)})},
		{"kill(0)", called(number("kill"), args{1, 0})},
		{"kill(34)", called(number("kill"), args{1, 34})},
		{"kill(-1)", called(number("kill"), args{1, minusOne})},
		{"tgkill(SIGKILL)", called(number("tgkill"), args{1, 1, uint64(unix.SIGKILL)})},

		{"chown", called(number("chown"), args{0, 1, 1})},
		{"socket", Call{Arch: x8664, Nr: number("socket")}},
		{"socket(AF_INET, SOCK_RAW, ICMP)", Call{Arch: arm64, Nr: 198, HasArgs: true, Args: args{2, 3, 1}}},
		{"socket", Call{Arch: i386, Nr: 359}},
		{"syscall 999", called(999, args{})},
		{"", called(-1, args{})},
	} {
		if got := test.call.String(); got != test.want {
			t.Errorf("%q, want %q", got, test.want)
		}
	}
}

// FuzzCallString: no argument adds characters that change a terminal or a table.
func FuzzCallString(f *testing.F) {
	f.Add(number("socket"), uint64(2), uint64(3), uint64(1), "", uint16(0), uint16(0))
	f.Add(number("mount"), uint64(0), uint64(0), uint64(0), "a\x00\u202eb)", uint16(1), uint16(2))
	f.Add(number("prctl"), ^uint64(0), ^uint64(0), ^uint64(0), "", uint16(0), uint16(0))
	f.Fuzz(func(t *testing.T, nr int, a, b, c uint64, detail string, family, port uint16) {
		for _, table := range []Arch{x8664, i386, arm64, arm} {
			call := Call{Arch: table, Nr: nr, HasArgs: true, Args: args{a, b, c}, Detail: detail, Family: family, Port: port}
			shown := call.String()
			if strings.ContainsFunc(shown, func(r rune) bool { return r < ' ' || r > '~' }) {
				t.Errorf("%q is not printable ASCII", shown)
			}
			if !strings.HasPrefix(shown, call.Name()) {
				t.Errorf("%q does not begin with %q", shown, call.Name())
			}
		}
	})
}

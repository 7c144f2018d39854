package alternatives

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/capmon/capmon/capability"
	"github.com/capmon/capmon/internal/classify"
	"github.com/capmon/capmon/internal/profile"
)

var start = time.Date(2026, 8, 1, 12, 0, 0, 0, time.UTC)

// use returns a use of a capability. after is the time of its last check since the start.
func use(c capability.Capability, call string, after time.Duration) profile.UsePattern {
	return profile.UsePattern{Capability: c, Class: classify.Required, Granted: true, Call: call, Count: 1, First: start, Last: start.Add(after)}
}

func always(c capability.Capability, call string) profile.UsePattern { return use(c, call, time.Hour) }

// ran returns a container that ran for an hour and kept the given capabilities.
func ran(kept capability.Set, uses ...profile.UsePattern) profile.Summary {
	return profile.Summaries(profile.New(profile.Run{
		ID: "1", Container: profile.Container{ID: "1", Name: "web", NetworkMode: "bridge"}, Started: &start, Ended: start.Add(time.Hour),
		Incomplete: []string{}, Kept: &kept, Uses: uses,
	}))[0]
}

// by returns the use with a program.
func by(program string, u profile.UsePattern) profile.UsePattern { u.Program = program; return u }

// withFiles returns a container all of whose uses concern one file.
func withFiles(path string, uses ...profile.UsePattern) profile.Summary {
	s := ran(^capability.Set(0), uses...)
	for _, use := range uses {
		s.Files = append(s.Files, profile.File{Capability: use.Capability, Granted: true, Call: use.Call, Path: path, Count: 1})
	}
	return s
}

func on(network string, s profile.Summary) profile.Summary {
	s.Container.NetworkMode = network
	return s
}

func TestOf(t *testing.T) {
	all := ^capability.Set(0)
	implicit := use(capability.NetBindService, "execve", time.Hour)
	implicit.Class = classify.Implicit
	locked := use(capability.SysAdmin, "unshare(CLONE_NEWUSER)", time.Hour)
	locked.Class, locked.Site = classify.Unlocked.Class, classify.Unlocked.Site
	type instead struct {
		InsteadOf string
		Flags     []string
	}
	for name, test := range map[string]struct {
		of   profile.Summary
		want []instead
	}{
		"nothing is needed":                {ran(all), nil},
		"the lowest port":                  {ran(all, always(capability.NetBindService, "bind(AF_INET, port 443)"), always(capability.NetBindService, "bind(AF_INET6, port 80)")), []instead{{"NET_BIND_SERVICE", []string{"--sysctl=net.ipv4.ip_unprivileged_port_start=80"}}}},
		"the network of the host":          {on("host", ran(all, always(capability.NetBindService, "bind(AF_INET, port 80)"))), []instead{{"NET_BIND_SERVICE", nil}}},
		"an unknown network":               {on("", ran(all, always(capability.NetBindService, "bind(AF_INET, port 80)"))), []instead{{"NET_BIND_SERVICE", nil}}},
		"the network of another container": {on("container:1", ran(all, always(capability.NetBindService, "bind(AF_INET, port 80)"))), []instead{{"NET_BIND_SERVICE", nil}}},
		"an unreadable port":               {ran(all, always(capability.NetBindService, "bind")), nil},
		"a port and file capabilities":     {ran(all, always(capability.NetBindService, "bind(AF_INET, port 80)"), implicit), nil},
		"echo requests":                    {ran(all, by("ping", always(capability.NetRaw, "socket(AF_INET, SOCK_RAW, ICMP)")), by("fping6", always(capability.NetRaw, "socket(AF_INET6, SOCK_RAW, ICMPV6)"))), []instead{{"NET_RAW", []string{"--sysctl=net.ipv4.ping_group_range=0 2147483647"}}}},
		"a routing daemon":                 {ran(all, by("radvd", always(capability.NetRaw, "socket(AF_INET6, SOCK_RAW, ICMPV6)"))), nil},
		"echo requests and more":           {ran(all, by("ping", always(capability.NetRaw, "socket(AF_INET, SOCK_RAW, ICMP)")), by("ping", always(capability.NetRaw, "socket(AF_INET, SOCK_RAW, TCP)"))), nil},
		"packets":                          {ran(all, always(capability.NetRaw, "socket(AF_PACKET, SOCK_RAW, ETH_P_ALL)")), nil},
		"another user from the start": {
			ran(0, always(capability.Setuid, "setuid(999)"), always(capability.Setgid, "setgid(998)"), always(capability.Setgid, "setgroups"), always(capability.Chown, "chown")),
			[]instead{{"CHOWN,SETGID,SETUID", []string{"--user=999"}}},
		},
		"another user of one group": {
			ran(0, always(capability.Setuid, "setuid(999)"), always(capability.Setgid, "setgid(998)")), []instead{{"SETGID,SETUID", []string{"--user=999:998"}}},
		},
		"only seccomp requires it":       {ran(all, locked), []instead{{"SYS_ADMIN", nil}}},
		"the kernel requires it as well": {ran(all, locked, always(capability.SysAdmin, "mount(tmpfs)")), nil},
		"another user that needs more":   {ran(capability.Of(capability.NetAdmin), always(capability.Setuid, "setuid(33)"), always(capability.NetAdmin, "ioctl")), nil},
		"a deadline":                     {ran(all, always(capability.SysNice, "sched_setattr")), nil},
		"another user with all ids":      {ran(0, always(capability.Setuid, "setresuid(33, 33, 33)")), []instead{{"SETUID", []string{"--user=33"}}}},
		"another user, all the time":     {ran(capability.Of(capability.Setuid), always(capability.Setuid, "setuid(999)")), nil},
		"another user, but its group all the time": {
			ran(capability.Of(capability.Setgid), always(capability.Setuid, "setuid(999)"), always(capability.Setgid, "setgid(998)")), nil,
		},
		"several users":           {ran(0, always(capability.Setuid, "setuid(999)"), always(capability.Setuid, "setuid(998)")), nil},
		"the effective user only": {ran(0, always(capability.Setuid, "setresuid(-1, 33, -1)")), nil},
		"root again":              {ran(0, always(capability.Setuid, "setuid(0)")), nil},
		"priorities":              {ran(all, always(capability.SysNice, "setpriority"), always(capability.SysNice, "sched_setscheduler")), []instead{{"SYS_NICE", []string{"--ulimit=nice=40", "--ulimit=rtprio=99"}}}},
		"memory policies":         {ran(all, always(capability.SysNice, "mbind")), nil},
		"locked memory":           {ran(all, always(capability.IPCLock, "mlock"), always(capability.IPCLock, "mmap")), []instead{{"IPC_LOCK", []string{"--ulimit=memlock=-1"}}}},
		"locked shared memory":    {ran(all, always(capability.IPCLock, "shmctl")), nil},
		"limits":                  {ran(all, always(capability.SysResource, "prlimit64")), []instead{{"SYS_RESOURCE", nil}}},
		"devices":                 {ran(all, always(capability.Mknod, "mknodat(S_IFCHR 0666)")), []instead{{"MKNOD", nil}}},
		"tasks of the host":       {ran(all, always(capability.SysTime, "clock_settime"), always(capability.SysModule, "finit_module")), []instead{{"SYS_MODULE,SYS_TIME", nil}}},
		"another user's files":    {withFiles("/data/a", always(capability.DACOverride, "openat"), always(capability.Chown, "chown")), []instead{{"CHOWN,DAC_OVERRIDE", nil}}},
		"files in /proc":          {withFiles("/proc/sys/vm/x", always(capability.DACOverride, "openat")), nil},
		"files without a name":    {withFiles("", always(capability.DACOverride, "openat")), nil},
		"files not seen":          {ran(all, always(capability.DACOverride, "openat")), nil},
		"at the start, and kept":  {ran(all, use(capability.SysAdmin, "mount(tmpfs)", time.Second), always(capability.Kill, "kill(SIGTERM)")), []instead{{"SYS_ADMIN", nil}}},
		"late":                    {ran(all, use(capability.SysAdmin, "mount(tmpfs)", time.Minute)), nil},
	} {
		t.Run(name, func(t *testing.T) {
			var got []instead
			for _, found := range Of(test.of) {
				got = append(got, instead{found.InsteadOf.String(), found.Flags})
				if found.Text == "" || len(found.Seen) == 0 {
					t.Errorf("incomplete: %+v", found)
				}
			}
			if diff := cmp.Diff(test.want, got); diff != "" {
				t.Error(diff)
			}
		})
	}
}

// A container that capmon did not watch from the start, or not for long, shows nothing about its start.
func TestTheStartMustBeSeen(t *testing.T) {
	short := ran(^capability.Set(0), use(capability.SysAdmin, "mount(tmpfs)", time.Second))
	for name, change := range map[string]func(*profile.Summary){
		"already running":          func(s *profile.Summary) { s.Existed = true },
		"several runs":             func(s *profile.Summary) { s.Runs = 2 },
		"watched for some seconds": func(s *profile.Summary) { s.Observed = 9 * time.Second },
		"incomplete":               func(s *profile.Summary) { s.Incomplete = []string{"something was lost"} },
	} {
		s := short
		change(&s)
		if found := Of(s); len(found) > 0 {
			t.Errorf("%s: %+v", name, found)
		}
	}
}

// The text names some of the files, and mentions that there are others.
func TestFilesAreNamed(t *testing.T) {
	for name, test := range map[string]struct {
		files, checks int
		want          string
	}{
		"all":       {2, 2, "DAC_OVERRIDE is used on /0 (not found afterwards), /1 (not found afterwards): change their owner"},
		"many":      {5, 5, "/2 (not found afterwards), and 2 more: change their owner"},
		"some":      {1, 2, "DAC_OVERRIDE is used on /0 (not found afterwards), among others: change their owner"},
		"very many": {5, 900, ", and 2 more, among others: change their owner"},
	} {
		many := always(capability.DACOverride, "openat")
		many.Count = uint64(test.checks)
		s := ran(^capability.Set(0), many)
		for i := range test.files {
			s.Files = append(s.Files, profile.File{Capability: capability.DACOverride, Granted: true, Call: "openat", Path: fmt.Sprint("/", i), Count: 1})
		}
		found := Of(s)
		if len(found) != 1 || !strings.Contains(found[0].Text, test.want) {
			t.Errorf("%s: %+v, wanted %q", name, found, test.want)
		}
	}
}

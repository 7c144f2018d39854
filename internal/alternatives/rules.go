package alternatives

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/capmon/capmon/internal/capability"
	"github.com/capmon/capmon/internal/classify"
	"github.com/capmon/capmon/internal/profile"
)

// elsewhere says where sysctls of the container's network have to be set if it has none of
// its own, as far as is known; "" if it has.
func elsewhere(s profile.Summary) string {
	mode := s.Container.NetworkMode
	switch {
	case mode == "":
		return "it is not known whether its network is its own"
	case mode == "host":
		return "it is on the host's network"
	case strings.HasPrefix(mode, "container:"):
		return "it is on another container's network"
	}
	return ""
}

// unprivilegedPorts: below this port, and only there, bind asks for the capability
// (inet_port_requires_bind_service, include/net/ip.h). Docker sets it to 0 in each network
// that it makes since 20.10, unless the container has a sysctl of its own.
func unprivilegedPorts(s profile.Summary) (Substitute, bool) {
	lowest := 0
	uses, ok := usesOf(s, capability.NetBindService, func(name string, arguments []string) bool {
		if name != "bind" || len(arguments) < 2 {
			return false
		}
		port, err := strconv.Atoi(strings.TrimPrefix(arguments[1], "port "))
		if lowest == 0 || port < lowest {
			lowest = port
		}
		return err == nil && port > 0
	})
	if !ok {
		return Substitute{}, false
	}
	found := Substitute{Instead: capability.Of(capability.NetBindService), Seen: callsOf(uses...)}
	setting := fmt.Sprintf("net.ipv4.ip_unprivileged_port_start=%d", lowest)
	return found.sysctl(s, setting, fmt.Sprintf("everybody in its network may bind ports from %d on", lowest)), true
}

// datagramEcho: Linux lets the groups of a range send ICMP echo requests from a datagram
// socket (ping_init_sock, net/ipv4/ping.c). It takes nothing else: a routing daemon, which sends
// other messages from a raw socket, cannot do with one, so capmon suggests this for tools that send
// echo requests only, and only where the range does not include their group yet.
func datagramEcho(s profile.Summary) (Substitute, bool) {
	uses, ok := usesOf(s, capability.NetRaw, func(name string, arguments []string) bool {
		return name == "socket" && len(arguments) == 3 && arguments[1] == "SOCK_RAW" &&
			(arguments[2] == "ICMP" || arguments[2] == "ICMPV6")
	})
	if !ok || slices.ContainsFunc(uses, func(use profile.Use) bool {
		return !classify.IsPingTool(use.Program) || use.Unsure == classify.UnsurePing
	}) {
		return Substitute{}, false
	}
	found := Substitute{
		Instead: capability.Of(capability.NetRaw), Seen: callsOf(uses...),
	}
	return found.sysctl(s, "net.ipv4.ping_group_range=0 2147483647",
		"all groups in its network may send echo requests from datagram sockets, if the program takes one when a raw one is refused: ping of iputils does, busybox's does not"), true
}

// sysctl makes it one that is set in the container's network.
func (found Substitute) sysctl(s profile.Summary, setting, effect string) Substitute {
	if where := elsewhere(s); where != "" {
		found.Text = fmt.Sprintf("%s; with the sysctl %s there, %s", where, setting, effect)
		return found
	}
	found.Flags, found.Text = []string{"--sysctl=" + setting}, effect
	return found
}

// preparing are the capabilities that root uses up before it becomes another user.
var preparing = capability.Of(capability.Setuid, capability.Setgid, capability.Chown, capability.DACOverride,
	capability.DACReadSearch, capability.Fowner, capability.Fsetid)

// anotherUser: what becomes one user at its start, and needs nothing afterwards, can be
// started as that user.
func anotherUser(s profile.Summary) (Substitute, bool) {
	used := s.AtStart().Intersect(preparing)
	if !s.Needs().Minus(used).Empty() { // processes of other users have no capabilities
		return Substitute{}, false
	}
	user, users, ok := becomes(s, capability.Setuid, used)
	if !ok || user == "0" {
		return Substitute{}, false
	}
	option := user
	group, groups, ok := becomes(s, capability.Setgid, used)
	if ok {
		option += ":" + group
	} else if used.Has(capability.Setgid) {
		return Substitute{}, false
	}
	text := fmt.Sprintf("it becomes user %s at its start, and can be that user at once", user)
	if slices.ContainsFunc(groups, func(use profile.Use) bool { name, _ := split(use.Call); return name == "setgroups" }) {
		// The engine gives a user without a group those that the image has for it, and else this group alone.
		text += fmt.Sprintf(", with the groups that the image's /etc/passwd and /etc/group have for it; if it is not in them, use --user=%s and a --group-add for each further group", option)
		option = user
	}
	if files := used.Minus(capability.Of(capability.Setuid, capability.Setgid)); !files.Empty() {
		text += "; the files that it prepares before have to be that user's already"
	}
	return Substitute{Instead: used, Flags: []string{"--user=" + option}, Text: text, Seen: callsOf(append(users, groups...)...)}, true
}

// settingIDs are the system calls all of whose arguments are ids to become.
var settingIDs = []string{"setuid", "setgid", "setresuid", "setresgid"}

// becomes finds the only id that the calls for a capability set, which was given up afterwards.
func becomes(s profile.Summary, c capability.Capability, givenUp capability.Set) (id string, uses []profile.Use, ok bool) {
	if !givenUp.Has(c) {
		return "", nil, false
	}
	uses, ok = usesOf(s, c, func(name string, arguments []string) bool {
		if name == "setgroups" {
			return true // see anotherUser
		}
		if !slices.Contains(settingIDs, strings.TrimSuffix(name, "32")) {
			return false
		}
		for _, argument := range arguments {
			if id != "" && argument != id || argument == "-1" {
				return false
			}
			id = argument
		}
		return len(arguments) > 0
	})
	return id, uses, ok && id != ""
}

// niceLimit: what sched_setattr is for is not known, and of its policies SCHED_DEADLINE is
// within no limit. can_nice and user_check_sched_setscheduler (kernel/sched/syscalls.c) ask only
// beyond these limits.
func niceLimit(s profile.Summary) (Substitute, bool) {
	uses, ok := usesOf(s, capability.SysNice, named("setpriority", "sched_setscheduler", "sched_setparam"))
	if !ok {
		return Substitute{}, false
	}
	found := Substitute{Instead: capability.Of(capability.SysNice), Seen: callsOf(uses...), Text: "its own processes may take any priority"}
	if slices.ContainsFunc(uses, func(use profile.Use) bool { return use.Call == "setpriority" }) {
		found.Flags = append(found.Flags, "--ulimit=nice=40")
	}
	if slices.ContainsFunc(uses, func(use profile.Use) bool { return strings.HasPrefix(use.Call, "sched_") }) {
		found.Flags = append(found.Flags, "--ulimit=rtprio=99")
		found.Text += ", unless it is another user's that it changes"
	}
	return found, true
}

// lockLimit: can_do_mlock and its like (mm/mlock.c) ask only beyond the limit.
func lockLimit(s profile.Summary) (Substitute, bool) {
	uses, ok := usesOf(s, capability.IPCLock, named("mlock", "mlock2", "mlockall", "mmap", "mremap", "brk"))
	if !ok {
		return Substitute{}, false
	}
	return Substitute{
		Instead: capability.Of(capability.IPCLock), Seen: callsOf(uses...),
		Flags: []string{"--ulimit=memlock=-1"}, Text: "it may lock any amount of memory; a number of bytes instead of -1 bounds it",
	}, true
}

func ownLimits(s profile.Summary) (Substitute, bool) {
	uses, ok := usesOf(s, capability.SysResource, named("setrlimit", "prlimit64"))
	if !ok {
		return Substitute{}, false
	}
	return Substitute{
		Instead: capability.Of(capability.SysResource), Seen: callsOf(uses...),
		Text: "it raises limits: with --ulimit=NAME=VALUE, as high as it wants them, it has them from the start",
	}, true
}

func givenDevices(s profile.Summary) (Substitute, bool) {
	uses, ok := usesOf(s, capability.Mknod, named("mknod", "mknodat"))
	if !ok {
		return Substitute{}, false
	}
	return Substitute{
		Instead: capability.Of(capability.Mknod), Seen: callsOf(uses...),
		Text: "it makes device nodes: with --device=/dev/NAME the engine does, and allows the device's use",
	}, true
}

// filesShown is how many files a text names.
const filesShown = 3

// changes are what is to be done about files, by the capability that it saves.
var changes = map[capability.Capability]string{
	capability.DACOverride:   "make them the user's who opens them, or open their modes",
	capability.DACReadSearch: "make them the user's who reads them, or open their modes",
	capability.Fowner:        "make them the user's who changes them",
	capability.Chown:         "give those of the image or of a volume their owner before the start; those that it makes belong to the user of the process that makes them",
}

// ownFiles: the kernel asks for these capabilities only where a file is another user's, and
// its mode does not allow what is done with it (generic_permission in fs/namei.c,
// setattr_prepare in fs/attr.c). Files that are the kernel's own have to stay as they are.
func ownFiles(s profile.Summary) (found Substitute, ok bool) {
	var texts []string
	for _, c := range s.Needs().Sorted() {
		uses, supported := usesOf(s, c, func(string, []string) bool { return changes[c] != "" })
		if !supported {
			continue
		}
		files, others := s.FilesOf(uses)
		list, ok := namesOf(files, others)
		if !ok {
			continue
		}
		found.Instead = found.Instead.With(c)
		found.Seen = append(found.Seen, callsOf(uses...)...)
		texts = append(texts, fmt.Sprintf("%s is used on %s: %s", c, list, changes[c]))
	}
	slices.Sort(found.Seen)
	found.Seen = slices.Compact(found.Seen)
	found.Text = strings.Join(texts, "; ")
	return found, len(texts) > 0
}

// namesOf names some files; not ok if there is one that nobody can change, or none that is
// known.
func namesOf(files []profile.File, others bool) (string, bool) {
	var named []string
	for _, file := range files {
		for _, directory := range []string{"/proc/", "/sys/"} {
			if strings.HasPrefix(file.Path, directory) {
				return "", false
			}
		}
		if file.Path == "" {
			others = true
		} else if text := file.String(); !slices.Contains(named, text) {
			named = append(named, text)
		}
	}
	if len(named) == 0 {
		return "", false
	}
	list := strings.Join(named[:min(len(named), filesShown)], ", ")
	if more := len(named) - filesShown; more > 0 {
		list += fmt.Sprintf(", and %d more", more)
	}
	if others {
		list += ", among others"
	}
	return list, true
}

// ownProfile: what a seccomp profile allows with a capability, another profile may allow without.
// The kernel itself did not ask for the capability, as in a user namespace of the process's own.
func ownProfile(s profile.Summary) (found Substitute, ok bool) {
	for _, c := range s.Needs().Sorted() {
		uses := s.UsesOf(c, classify.Needs()...)
		if len(uses) == 0 || slices.ContainsFunc(uses, func(use profile.Use) bool { return use.Site != classify.Unlocked.Site }) {
			continue
		}
		found.Instead = found.Instead.With(c)
		found.Seen = append(found.Seen, callsOf(uses...)...)
	}
	slices.Sort(found.Seen)
	found.Seen = slices.Compact(found.Seen)
	found.Text = "only the seccomp profile asks for it: with --security-opt=seccomp=FILE, a profile that also allows these calls, the container needs no capability for them"
	return found, !found.Instead.Empty()
}

// chores are what the host had better do, by the capability for it.
var chores = map[capability.Capability]struct {
	calls []string
	text  string
}{
	capability.SysTime:   {[]string{"clock_settime", "settimeofday", "adjtimex", "clock_adjtime"}, "it sets the clock, which is the host's: let the host keep the time"},
	capability.SysModule: {[]string{"init_module", "finit_module", "delete_module"}, "it loads or removes kernel modules, the host's: let the host load them before"},
	capability.SysPtrace: {[]string{"ptrace", "process_vm_readv", "process_vm_writev", "kcmp", "pidfd_getfd"}, "it looks into processes that are not its user's or have more rights: what only debugs can be started with docker exec --privileged when it is wanted"},
}

func hostsWork(s profile.Summary) (found Substitute, ok bool) {
	var texts []string
	for _, c := range s.Needs().Sorted() {
		uses, supported := usesOf(s, c, named(chores[c].calls...))
		if !supported {
			continue
		}
		found.Instead = found.Instead.With(c)
		found.Seen = append(found.Seen, callsOf(uses...)...)
		texts = append(texts, chores[c].text)
	}
	found.Text = strings.Join(texts, "; ")
	return found, len(texts) > 0
}

const (
	startUp = 10 * time.Second // how long a start may take
	longer  = 10               // times that it was watched longer than it used a capability
)

// givenUp: what was used at the start only, and never again for long, the program could
// give up then.
func givenUp(s profile.Summary) (found Substitute, ok bool) {
	if s.Runs != 1 || s.Existed || !s.Started || len(s.Incomplete) > 0 {
		return Substitute{}, false
	}
	var last time.Duration
	for _, c := range s.Needs().Minus(s.AtStart()).Sorted() {
		uses, supported := usesOf(s, c, func(string, []string) bool { return true })
		after := lastUse(uses).Sub(s.Since)
		if !supported || after > startUp || s.Observed < longer*max(after, time.Second) {
			continue
		}
		found.Instead = found.Instead.With(c)
		found.Seen = append(found.Seen, callsOf(uses...)...)
		last = max(last, after)
	}
	slices.Sort(found.Seen)
	found.Seen = slices.Compact(found.Seen)
	found.Text = fmt.Sprintf("used in the first %s and not again in %s: the program could give it up then",
		max(last+time.Second-1, time.Second).Truncate(time.Second), s.Observed.Round(time.Second))
	return found, !found.Instead.Empty()
}

func lastUse(uses []profile.Use) (last time.Time) {
	for _, use := range uses {
		if use.Last.After(last) {
			last = use.Last
		}
	}
	return last
}

package alternatives

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/capmon/capmon/capability"
	"github.com/capmon/capmon/internal/classify"
	"github.com/capmon/capmon/internal/profile"
)

// otherNetwork describes the network of the container if the container may not have its own network; "" if it has one.
// Options of the container cannot set the sysctls of another network.
func otherNetwork(s profile.Summary) string {
	mode := s.Container.NetworkMode
	switch {
	case mode == "":
		return "capmon does not know whether the container has its own network"
	case mode == "host":
		return "the container is on the host's network"
	case strings.HasPrefix(mode, "container:"):
		return "the container is on another container's network"
	}
	return ""
}

// lowPorts: bind checks the capability only for ports below the sysctl (inet_port_requires_bind_service,
// include/net/ip.h). Docker sets it to 0 in each network that it creates since 20.10, unless the container sets the
// sysctl itself.
func lowPorts(s profile.Summary) (Alternative, bool) {
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
		return Alternative{}, false
	}
	found := Alternative{InsteadOf: capability.Of(capability.NetBindService), Seen: callsOf(uses...)}
	setting := fmt.Sprintf("net.ipv4.ip_unprivileged_port_start=%d", lowest)
	return found.sysctl(s, setting, fmt.Sprintf("every process in its network may bind ports from %d on", lowest)), true
}

// datagramEcho: Linux allows the groups in a range to send ICMP echo requests from a datagram socket (ping_init_sock,
// net/ipv4/ping.c), but no other messages. A routing daemon sends other messages from a raw socket, and a datagram
// socket is not sufficient for it. So capmon suggests this only for tools that send echo requests only, and only if the
// range does not include their group yet.
func datagramEcho(s profile.Summary) (Alternative, bool) {
	uses, ok := usesOf(s, capability.NetRaw, func(name string, arguments []string) bool {
		return name == "socket" && len(arguments) == 3 && arguments[1] == "SOCK_RAW" &&
			(arguments[2] == "ICMP" || arguments[2] == "ICMPV6")
	})
	if !ok || slices.ContainsFunc(uses, func(use profile.UsePattern) bool {
		return !classify.IsPingTool(use.Program) || use.Unsure == classify.UnsurePing
	}) {
		return Alternative{}, false
	}
	found := Alternative{
		InsteadOf: capability.Of(capability.NetRaw), Seen: callsOf(uses...),
	}
	return found.sysctl(s, "net.ipv4.ping_group_range=0 2147483647",
		"all groups in its network may send ICMP echo requests from datagram sockets. The program must use such a socket if a raw socket is denied: ping of iputils does, ping of busybox does not"), true
}

// sysctl adds a sysctl that has to be set in the container's network.
func (found Alternative) sysctl(s profile.Summary, setting, effect string) Alternative {
	if where := otherNetwork(s); where != "" {
		found.Text = fmt.Sprintf("%s; if the sysctl %s is set in that network, %s", where, setting, effect)
		return found
	}
	found.Flags, found.Text = []string{"--sysctl=" + setting}, effect
	return found
}

// startCapabilities are the capabilities that root typically needs before it changes to another user.
var startCapabilities = capability.Of(capability.Setuid, capability.Setgid, capability.Chown, capability.DACOverride,
	capability.DACReadSearch, capability.Fowner, capability.Fsetid)

// anotherUser: a container that changes to one user at its start, and needs no capabilities afterwards, can be started
// as that user.
func anotherUser(s profile.Summary) (Alternative, bool) {
	used := s.AtStart().Intersect(startCapabilities)
	if !s.Needs().Minus(used).Empty() { // processes of other users have no capabilities
		return Alternative{}, false
	}
	user, users, ok := targetID(s, capability.Setuid, used)
	if !ok || user == "0" {
		return Alternative{}, false
	}
	option := user
	group, groups, ok := targetID(s, capability.Setgid, used)
	if ok {
		option += ":" + group
	} else if used.Has(capability.Setgid) {
		return Alternative{}, false
	}
	text := fmt.Sprintf("the container changes to user %s at its start, and can run as that user from the beginning", user)
	if slices.ContainsFunc(groups, func(use profile.UsePattern) bool { name, _ := splitCall(use.Call); return name == "setgroups" }) {
		// For a user without a group, the engine sets the groups that the image lists. Otherwise it sets only the given
		// group.
		text += fmt.Sprintf(", with the groups that /etc/passwd and /etc/group of the image list for this user; if these files do not list the user, use --user=%s and a --group-add for each further group", option)
		option = user
	}
	if files := used.Minus(capability.Of(capability.Setuid, capability.Setgid)); !files.Empty() {
		text += "; the files that it prepares must then belong to this user before the start"
	}
	return Alternative{InsteadOf: used, Flags: []string{"--user=" + option}, Text: text, Seen: callsOf(append(users, groups...)...)}, true
}

// idCalls are the system calls whose arguments are all IDs to change to.
var idCalls = []string{"setuid", "setgid", "setresuid", "setresgid"}

// targetID returns the only ID that the calls for a capability set, if the container dropped the capability afterwards.
func targetID(s profile.Summary, c capability.Capability, givenUp capability.Set) (id string, uses []profile.UsePattern, ok bool) {
	if !givenUp.Has(c) {
		return "", nil, false
	}
	uses, ok = usesOf(s, c, func(name string, arguments []string) bool {
		if name == "setgroups" {
			return true // see anotherUser
		}
		if !slices.Contains(idCalls, strings.TrimSuffix(name, "32")) {
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

// niceLimit: can_nice and user_check_sched_setscheduler (kernel/sched/syscalls.c) check the capability only beyond
// these limits. The rule does not accept sched_setattr: its policy is not known, and no limit allows SCHED_DEADLINE.
func niceLimit(s profile.Summary) (Alternative, bool) {
	uses, ok := usesOf(s, capability.SysNice, callsNamed("setpriority", "sched_setscheduler", "sched_setparam"))
	if !ok {
		return Alternative{}, false
	}
	found := Alternative{InsteadOf: capability.Of(capability.SysNice), Seen: callsOf(uses...), Text: "processes of the container may set any priority for themselves"}
	if slices.ContainsFunc(uses, func(use profile.UsePattern) bool { return use.Call == "setpriority" }) {
		found.Flags = append(found.Flags, "--ulimit=nice=40")
	}
	if slices.ContainsFunc(uses, func(use profile.UsePattern) bool { return strings.HasPrefix(use.Call, "sched_") }) {
		found.Flags = append(found.Flags, "--ulimit=rtprio=99")
		found.Text += ", but not for processes of other users"
	}
	return found, true
}

// lockLimit: can_do_mlock and similar functions (mm/mlock.c) check the capability only beyond the limit.
func lockLimit(s profile.Summary) (Alternative, bool) {
	uses, ok := usesOf(s, capability.IPCLock, callsNamed("mlock", "mlock2", "mlockall", "mmap", "mremap", "brk"))
	if !ok {
		return Alternative{}, false
	}
	return Alternative{
		InsteadOf: capability.Of(capability.IPCLock), Seen: callsOf(uses...),
		Flags: []string{"--ulimit=memlock=-1"}, Text: "the container may lock any amount of memory; use a number of bytes instead of -1 to limit the amount",
	}, true
}

func resourceLimits(s profile.Summary) (Alternative, bool) {
	uses, ok := usesOf(s, capability.SysResource, callsNamed("setrlimit", "prlimit64"))
	if !ok {
		return Alternative{}, false
	}
	return Alternative{
		InsteadOf: capability.Of(capability.SysResource), Seen: callsOf(uses...),
		Text: "the container raises limits: set them with --ulimit=NAME=VALUE at the start, as high as the program sets them",
	}, true
}

func devices(s profile.Summary) (Alternative, bool) {
	uses, ok := usesOf(s, capability.Mknod, callsNamed("mknod", "mknodat"))
	if !ok {
		return Alternative{}, false
	}
	return Alternative{
		InsteadOf: capability.Of(capability.Mknod), Seen: callsOf(uses...),
		Text: "the container creates device nodes: with --device=/dev/NAME, the engine creates them and allows the use of the device",
	}, true
}

// filesShown is the number of files that a text names.
const filesShown = 3

// fileRemedies describe the necessary changes of files, by the capability that becomes unnecessary.
var fileRemedies = map[capability.Capability]string{
	capability.DACOverride:   "change their owner to the user that opens them, or allow the access in their modes",
	capability.DACReadSearch: "change their owner to the user that reads them, or allow the access in their modes",
	capability.Fowner:        "change their owner to the user that changes them",
	capability.Chown:         "set the owner of files of the image or a volume before the start; files that a process creates belong to its user",
}

// fileOwners: the kernel checks these capabilities only if a file belongs to another user and its mode does not allow
// the operation (generic_permission in fs/namei.c, setattr_prepare in fs/attr.c). Files of the kernel's own file
// systems cannot be changed.
func fileOwners(s profile.Summary) (found Alternative, ok bool) {
	var texts []string
	for _, c := range s.Needs().Sorted() {
		uses, supported := usesOf(s, c, func(string, []string) bool { return fileRemedies[c] != "" })
		if !supported {
			continue
		}
		files, others := s.FilesOf(uses)
		list, ok := nameFiles(files, others)
		if !ok {
			continue
		}
		found.InsteadOf = found.InsteadOf.With(c)
		found.Seen = append(found.Seen, callsOf(uses...)...)
		texts = append(texts, fmt.Sprintf("%s is used on %s: %s", c, list, fileRemedies[c]))
	}
	slices.Sort(found.Seen)
	found.Seen = slices.Compact(found.Seen)
	found.Text = strings.Join(texts, "; ")
	return found, len(texts) > 0
}

// nameFiles names some of the files. It returns false if one of them cannot be changed, or if none is known.
func nameFiles(files []profile.File, others bool) (string, bool) {
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

// customSeccompProfile: another seccomp profile may allow system calls without a capability that this one requires. The
// kernel itself did not check the capability, for example because the call is for a nested user namespace.
func customSeccompProfile(s profile.Summary) (found Alternative, ok bool) {
	for _, c := range s.Needs().Sorted() {
		uses := s.UsesOf(c, classify.Needs()...)
		if len(uses) == 0 || slices.ContainsFunc(uses, func(use profile.UsePattern) bool { return use.Site != classify.Unlocked.Site }) {
			continue
		}
		found.InsteadOf = found.InsteadOf.With(c)
		found.Seen = append(found.Seen, callsOf(uses...)...)
	}
	slices.Sort(found.Seen)
	found.Seen = slices.Compact(found.Seen)
	found.Text = "only the seccomp profile requires it: the container does not need it with a seccomp profile that allows these calls without it (--security-opt=seccomp=FILE)"
	return found, !found.InsteadOf.Empty()
}

// hostTasks are operations that the host should do, by the capability for them.
var hostTasks = map[capability.Capability]struct {
	calls []string
	text  string
}{
	capability.SysTime:   {[]string{"clock_settime", "settimeofday", "adjtimex", "clock_adjtime"}, "the container sets the clock of the host: let the host set its clock"},
	capability.SysModule: {[]string{"init_module", "finit_module", "delete_module"}, "the container loads or removes kernel modules: let the host load them in advance"},
	capability.SysPtrace: {[]string{"ptrace", "process_vm_readv", "process_vm_writev", "kcmp", "pidfd_getfd"}, "the container inspects processes of other users or with more privileges: if only debugging needs this, debug with docker exec --privileged"},
}

func hostTask(s profile.Summary) (found Alternative, ok bool) {
	var texts []string
	for _, c := range s.Needs().Sorted() {
		uses, supported := usesOf(s, c, callsNamed(hostTasks[c].calls...))
		if !supported {
			continue
		}
		found.InsteadOf = found.InsteadOf.With(c)
		found.Seen = append(found.Seen, callsOf(uses...)...)
		texts = append(texts, hostTasks[c].text)
	}
	found.Text = strings.Join(texts, "; ")
	return found, len(texts) > 0
}

const (
	startDuration = 10 * time.Second // the longest start
	watchFactor   = 10               // how much longer capmon has to have watched the container
)

// dropAfterStart: if a capability was used only at the start, and not again for a long time, the program could drop it
// after the start.
func dropAfterStart(s profile.Summary) (found Alternative, ok bool) {
	if s.Runs != 1 || s.Existed || !s.Started || len(s.Incomplete) > 0 {
		return Alternative{}, false
	}
	var last time.Duration
	for _, c := range s.Needs().Minus(s.AtStart()).Sorted() {
		uses, supported := usesOf(s, c, func(string, []string) bool { return true })
		after := lastUse(uses).Sub(s.Since)
		if !supported || after > startDuration || s.Observed < watchFactor*max(after, time.Second) {
			continue
		}
		found.InsteadOf = found.InsteadOf.With(c)
		found.Seen = append(found.Seen, callsOf(uses...)...)
		last = max(last, after)
	}
	slices.Sort(found.Seen)
	found.Seen = slices.Compact(found.Seen)
	found.Text = fmt.Sprintf("used in the first %s, and not again while capmon watched for %s: the program could drop it after the start",
		max(last+time.Second-1, time.Second).Truncate(time.Second), s.Observed.Round(time.Second))
	return found, !found.InsteadOf.Empty()
}

func lastUse(uses []profile.UsePattern) (last time.Time) {
	for _, use := range uses {
		if use.Last.After(last) {
			last = use.Last
		}
	}
	return last
}

// Package reporttest has profiles and results for tests of package report, and of formats that others read.
package reporttest

import (
	"fmt"
	"strings"
	"time"

	"github.com/capmon/capmon/capability"
	"github.com/capmon/capmon/internal/classify"
	"github.com/capmon/capmon/internal/profile"
	"github.com/capmon/capmon/monitor"
)

// Saturday is the time at which the runs start.
var Saturday = time.Date(2026, 8, 1, 12, 0, 0, 0, time.UTC)

// Recorder is the recorder of the runs and proofs, except of hostile ones.
var Recorder = profile.Recorder{Host: "web1", Engine: "docker 28.2.2", Capmon: "v0.9"}

// Evidence returns the evidence of an output that was created a day after the runs of a profile.
func Evidence(p profile.Profile) profile.Evidence {
	return profile.Evidence{Scope: "profile web.json", Created: Saturday.AddDate(0, 0, 1), Capmon: "v0.9"}.WithRuns(p.Runs)
}

func ptr[T any](value T) *T { return &value }

// run returns a run of nginx for 90 seconds, as root, with Docker's default grants.
func run(id int, uses ...profile.UsePattern) profile.Run {
	defaults := capability.DockerDefault()
	return profile.Run{
		ID:          fmt.Sprint("observation/", id),
		Observation: profile.Observation{ID: "observation", Recorder: Recorder, Kernel: "6.18.1", Hook: monitor.Tracepoint, Start: Saturday, End: Saturday.Add(time.Hour)},
		Container: profile.Container{
			ID: strings.Repeat(fmt.Sprintf("%02x", id), 32), Name: "web", Image: "nginx:latest",
			ImageID: "sha256:" + strings.Repeat("c0", 32), Labels: map[string]string{"team": "edge"}, NetworkMode: "bridge",
		},
		Grants:  profile.Grants{Engine: &defaults, Kernel: &defaults, Permitted: &defaults},
		Started: &Saturday, Ended: Saturday.Add(90 * time.Second),
		Processes: 7, Checks: 1234, Incomplete: []string{}, Uses: uses,
	}
}

func use(c capability.Capability, class classify.Class, count uint64, change ...func(*profile.UsePattern)) profile.UsePattern {
	u := profile.UsePattern{
		Capability: c, Class: class, Granted: class != classify.Denied, Program: "nginx", Count: count,
		First: Saturday.Add(time.Second), Last: Saturday.Add(time.Minute),
	}
	if class == classify.Soft {
		u.Reason = "without it set-user-ID and set-group-ID bits would be cleared"
	}
	for _, f := range change {
		f(&u)
	}
	return u
}

func checked(program, call, site string) func(*profile.UsePattern) {
	return func(u *profile.UsePattern) { u.Program, u.Call, u.Site = program, call, site }
}

func because(reason string) func(*profile.UsePattern) {
	return func(u *profile.UsePattern) { u.Reason = reason }
}

func unsure(why string) func(*profile.UsePattern) {
	return func(u *profile.UsePattern) { u.Unsure = why }
}

func alternative(c capability.Capability) func(*profile.UsePattern) {
	return func(u *profile.UsePattern) { u.Alternative = &c }
}

func changed(r profile.Run, changes ...func(*profile.Run)) profile.Run {
	for _, change := range changes {
		change(&r)
	}
	return r
}

func called(name, image string) func(*profile.Run) {
	return func(r *profile.Run) { r.Container.Name, r.Container.Image = name, image }
}

// Hostile is a name with what a container may try: clear the screen, change the title, forge lines, change the
// direction of writing, and use the CSI of C1.
const Hostile = "a\x1b[2J\x1b]0;t\x07\nCHOWN  no\r\t\x00\u202e\u009b1m\xff\"\\"

// Profiles returns the cases of the golden files.
func Profiles() map[string]profile.Profile {
	uses := []profile.UsePattern{
		use(capability.Chown, classify.Required, 3, checked("nginx", "chown", "setattr_prepare")),
		use(capability.NetBindService, classify.Required, 1, checked("nginx", "bind(AF_INET, port 80)", "__inet_bind")),
		use(capability.Fsetid, classify.Soft, 2, checked("install", "fchmodat(02755)", "setattr_prepare")),
		use(capability.Setuid, classify.Redundant, 4, because("the user ID was already the requested one")),
		use(capability.SysAdmin, classify.Irrelevant, 900, checked("nginx", "mmap", "security_vm_enough_memory_mm"), because("checked on every change of memory size")),
		use(capability.SysAdmin, classify.Setup, 200, checked("runc:[2:INIT]", "mount(proc)", "path_mount"), because("checked by the container runtime before the workload's first instruction")),
		use(capability.DACOverride, classify.OtherCredential, 20, because("the kernel had overridden the credentials")),
		use(capability.SysChroot, classify.NestedUserns, 1, because("checked in a user namespace that the workload created")),
	}
	var many []profile.UsePattern
	for i := range 7 {
		many = append(many, use(capability.Kill, classify.Required, uint64(10-i), checked(fmt.Sprint("worker-", i), "kill(SIGTERM)", "check_kill_permission")))
	}
	four := many[:4]
	cat := use(capability.DACOverride, classify.Required, 1, checked("tar", "openat", "may_open"), alternative(capability.DACReadSearch))
	return map[string]profile.Profile{
		"empty":             profile.New(),
		"needs-and-unused":  profile.New(run(1, uses...)),
		"several-patterns":  profile.New(run(1, many...), changed(run(2, four...), called("four", "bb"))),
		"everything-unused": profile.New(run(1)),
		"nothing-granted": profile.New(changed(run(1), func(r *profile.Run) {
			r.Grants = profile.Grants{Engine: ptr(capability.Set(0)), Kernel: ptr(capability.Set(0)), Permitted: ptr(capability.Set(0))}
		})),
		"privileged": profile.New(changed(run(1, use(capability.SysAdmin, classify.Required, 1, checked("mount", "mount(tmpfs)", "path_mount"))), func(r *profile.Run) {
			all := capability.Known(capability.CheckpointRestore)
			r.Grants = profile.Grants{Engine: &all, Kernel: &all, Permitted: &all, Privileged: true}
		})),
		"denied": profile.New(run(1,
			use(capability.SysTime, classify.Denied, 2, checked("date", "clock_settime", "security_settime64")),
			use(capability.NetAdmin, classify.Denied, 1, checked("ip", "sendmsg", "rtnetlink_rcv_msg")),
			use(capability.SysAdmin, classify.Denied, 1, checked("sh", "quotactl", "do_quotactl"), because("checked in the host's user namespace: no --cap-add can help")),
			use(capability.Chown, classify.Required, 1),
		)),
		"at-start": profile.New(changed(run(1,
			use(capability.Setuid, classify.Required, 2, checked("redis", "setuid(999)", "__sys_setuid")),
			use(capability.Chown, classify.Required, 1, checked("redis", "chown", "setattr_prepare")),
			use(capability.DACReadSearch, classify.Tolerated, 1, checked("redis", "openat", "may_open"), because("denied, but another capability was sufficient")),
		), func(r *profile.Run) { r.Kept = ptr(capability.Of(capability.Chown)) })),
		"unwatched": profile.New(changed(run(1,
			use(capability.SysNice, classify.Implicit, 1, checked("numactl", "mbind", "seccomp"), because("the seccomp profile allows this system call only with it")),
		), func(r *profile.Run) { r.Unwatched = ptr(capability.Of(capability.SysNice, capability.Syslog)) })),
		"files": profile.New(changed(run(1,
			use(capability.DACOverride, classify.Required, 9, checked("tar", "openat(O_RDONLY)", "may_open")),
			use(capability.DACOverride, classify.Denied, 1, checked("sh", "openat", "link_path_walk")),
			use(capability.Chown, classify.Required, 2, checked("mv", "fchown", "setattr_prepare")),
			use(capability.Fowner, classify.Required, 2, checked("mv", "rename", "may_delete")),
			use(capability.Fsetid, classify.Soft, 1, checked("io", "io_uring_enter", "file_remove_privs")),
		), func(r *profile.Run) { r.Files, r.Unlisted = someFiles(), 3 })),
		"soft": profile.New(run(1, uses[2])),
		"unsure": profile.New(run(1,
			use(capability.IPCLock, classify.Required, 1, checked("redis", "mlockall", "do_mmap"), unsure("needed only beyond RLIMIT_MEMLOCK, which the kernel compares afterwards")),
			use(capability.Kill, classify.Required, 2, unsure("the call site is not known")),
			use(capability.Kill, classify.Required, 1, checked("sh", "kill(SIGTERM)", "check_kill_permission")),
		)),
		"narrower": profile.New(run(1,
			use(capability.SysAdmin, classify.Required, 1, checked("perf", "perf_event_open", "perf_allow_cpu"), alternative(capability.Perfmon)),
		)),
		"narrower-but-dangerous": profile.New(run(1, cat)),
		"sysctls": profile.New(run(1,
			use(capability.NetAdmin, classify.Required, 1, checked("sh", "write", "devinet_sysctl_forward"), func(u *profile.UsePattern) {
				u.Stack = []string{"devinet_sysctl_forward", "proc_sys_call_handler", "vfs_write"}
			}),
		)),
		"nameless": profile.New(run(1, use(60, classify.Required, 1, checked("new", "newcall", "do_new")))),
		"spared": profile.New(run(1,
			use(capability.DACOverride, classify.Required, 1, checked("sh", "openat", "may_open")),
			use(capability.DACReadSearch, classify.Required, 2, checked("tar", "openat", "may_open"), alternative(capability.DACOverride)),
		)),
		"incomplete": profile.New(changed(run(1, uses[0]), func(r *profile.Run) {
			r.Lost = 17
			r.Incomplete = []string{"17 checks of this container could not be recorded: its quota was used up, or the kernel's map of checks was full", "the kernel skipped 3 runs"}
		})),
		"incomplete-elsewhere": profile.New(changed(run(1, uses[0]), func(r *profile.Run) {
			r.Incomplete = []string{"5 checks of all containers together did not fit in the kernel map of checks (--max-checks)"}
		})),
		"existed": profile.New(changed(run(1, uses[0]), func(r *profile.Run) {
			r.Existed, r.Running, r.Observation.Start = true, true, Saturday.Add(time.Second)
		})),
		"never-started": profile.New(neverStarted(1)),
		"never-started-beside-another": profile.New(
			changed(neverStarted(1), called("broken", "bb")), run(2, uses[0])),
		"exit-status": profile.New(changed(run(1), func(r *profile.Run) { r.ExitStatus = ptr(3) })),
		"several-runs": profile.New(
			run(1, uses[:2]...), changed(run(2, uses[0]), func(r *profile.Run) { r.Started = ptr(Saturday.Add(time.Hour)); r.Ended = Saturday.Add(3 * time.Hour) }),
			changed(run(3, uses[1]), called("db", "postgres")), neverStarted(4),
		),
		"service": profile.New(changed(run(1, uses[0]), task("web.1.a")), changed(run(2, uses[1]), task("web.2.b"))),
		"without-engine": profile.New(changed(run(1, uses[0]), func(r *profile.Run) {
			r.Container, r.Grants.Engine = profile.Container{ID: r.Container.ID}, nil
			r.EngineError = "no engine could be reached"
		})),
		"without-grants":  profile.New(changed(run(1, uses[0]), func(r *profile.Run) { r.Grants = profile.Grants{} })),
		"disagreement":    profile.New(changed(run(1), func(r *profile.Run) { r.Grants.Kernel = ptr(capability.Of(capability.Chown, capability.SysTime, 63)) })),
		"user":            profile.New(changed(run(1), asUser)),
		"existed-as-user": profile.New(changed(run(1), asUser, func(r *profile.Run) { r.Existed = true })),
		"user-with-file-capabilities": profile.New(changed(run(1,
			use(capability.NetRaw, classify.Required, 1, checked("ping", "socket(AF_INET, SOCK_RAW, ICMP)", "inet_create"))), asUser)),
		"user-with-seccomp": profile.New(changed(run(1,
			use(capability.SysAdmin, classify.Implicit, 1, checked("unshare", "unshare(CLONE_NEWUSER)", classify.Unlocked.Site), because(classify.Unlocked.Reason)),
			use(capability.NetRaw, classify.Required, 1, checked("arping", "socket(AF_PACKET)", "packet_create"))), asUser)),
		"user-without-new-privileges": profile.New(changed(run(1,
			use(capability.NetBindService, classify.Implicit, 1, checked("web", "execve", "bprm_caps_from_vfs_caps"), because("a file capability with the effective flag: without it, the program cannot be executed")),
			use(capability.NetBindService, classify.Denied, 1, checked("web", "bind(AF_INET, port 80)", "__inet_bind"))), asUser)),
		"proved":        withProof(profile.New(run(1, cat, uses[0])), Proof()),
		"proved-before": withProof(profile.New(run(1, cat, uses[0], uses[1])), Proof()),
		"proved-in-part": withProof(profile.New(run(1, cat, uses[0])), Proof(func(p *profile.Proof) {
			p.Minimal, p.Members[0].Verdict, p.Reasons = false, profile.Unsure, []string{"CHOWN is kept: it is flaky"}
		})),
		"proved-another-image": withProof(profile.New(run(1, cat)), Proof(func(p *profile.Proof) { p.Container.ImageID = "sha256:00" })),
		"proved-several-builds": withProof(profile.New(
			changed(run(1, cat), func(r *profile.Run) { r.Container.ImageID = "sha256:00" }), run(2, uses[0])), Proof()),
		"not-proved": withProof(profile.New(run(1, cat)), Proof(func(p *profile.Proof) { p.Works = false })),
		"hostile":    HostileProfile(Hostile),
	}
}

// HostileProfile returns a profile in which each text that a container can choose is this text.
func HostileProfile(text string) profile.Profile {
	return withProof(profile.New(
		changed(run(1,
			use(capability.Chown, classify.Required, 1, checked(text, text, text), unsure(text)),
			use(capability.Kill, classify.Denied, 1, checked(text, text, text), because(text)),
			use(capability.Fsetid, classify.Soft, 1, checked(text, text, text), because(text)),
			use(capability.Setuid, classify.Class(text), 1, checked(text, text, text), because(text)),
		), called(text, text), func(r *profile.Run) {
			r.Incomplete = []string{text}
			r.Observation.Recorder = profile.Recorder{Host: text, Engine: text, Capmon: text}
			r.Files = []profile.File{{
				Capability: capability.Chown, Granted: true, Program: text, Call: text, Site: text, Path: "/" + text, Count: 1,
				Found: &profile.FileInfo{Path: "/" + text, Mode: text}, Directory: &profile.FileInfo{Path: text, Mode: text, Lacks: text},
			}}
		}),
		changed(run(2), func(r *profile.Run) { r.Container = profile.Container{ID: text} }),
		changed(neverStarted(3), func(r *profile.Run) { r.Container = profile.Container{ID: "\x1b[1m"} }),
	), HostileProof(text))
}

// someFiles returns the files of the uses in the case "files".
func someFiles() []profile.File {
	var files []profile.File
	add := func(path string, count uint64, change func(*profile.File)) {
		file := profile.File{
			Capability: capability.DACOverride, Granted: true, Program: "tar", Call: "openat", Site: "may_open", Path: path, Count: count,
			Found: &profile.FileInfo{Path: path, Owner: 1000, Group: 1000, Mode: "0600"},
		}
		if change != nil {
			change(&file)
		}
		files = append(files, file)
	}
	add("/data/one", 4, nil)
	add("/data/two words (owner 0:0, mode 0777)", 1, nil)
	add("/data/gone", 1, func(f *profile.File) { f.Found = nil })
	add("/link", 1, func(f *profile.File) { f.Found.Path = "/data/three" })
	add("relative", 1, func(f *profile.File) { f.Found = nil })
	add("/home/user/.secret", 1, func(f *profile.File) {
		f.Program, f.Granted, f.Site, f.User, f.Found = "sh", false, "link_path_walk", 33, nil
		f.Directory = &profile.FileInfo{Path: "/home/user", Owner: 1000, Group: 1000, Mode: "0700", Lacks: "search"}
	})
	add("/srv/new", 2, func(f *profile.File) {
		f.Capability, f.Program, f.Call, f.Site = capability.Chown, "mv", "fchown", "setattr_prepare"
	})
	for i, path := range []string{"/tmp/from", "/tmp/to"} {
		add(path, uint64(2-2*i), func(f *profile.File) {
			f.Capability, f.Program, f.Call, f.Site, f.OfTwo = capability.Fowner, "mv", "rename", "may_delete", true
		})
	}
	add("", 1, func(f *profile.File) {
		f.Capability, f.Program, f.Call, f.Site, f.Found = capability.Fsetid, "io", "io_uring_enter", "file_remove_privs", nil
	})
	return files
}

func neverStarted(id int) profile.Run {
	r := run(id, use(capability.SysAdmin, classify.Setup, 200, checked("runc:[2:INIT]", "", ""), because("checked by the container runtime")))
	r.Started, r.Processes, r.Grants.Kernel, r.Grants.Permitted = nil, 0, nil, nil
	return r
}

// task makes the run's container a task of the service web.
func task(name string) func(*profile.Run) {
	return func(r *profile.Run) {
		r.Container.Name = name
		r.Container.Labels = map[string]string{"com.docker.swarm.service.name": "web"}
	}
}

func asUser(r *profile.Run) {
	r.User, r.Grants.Permitted = 101, ptr(capability.Set(0))
}

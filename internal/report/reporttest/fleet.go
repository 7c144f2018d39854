package reporttest

import (
	"fmt"
	"time"

	"github.com/capmon/capmon/capability"
	"github.com/capmon/capmon/internal/classify"
	"github.com/capmon/capmon/internal/profile"
)

// workload is a kind of container of a fleet.
type workload struct {
	service, image string
	granted        capability.Set
	privileged     bool
	uses           []profile.UsePattern
	files          []profile.File
	change         func(*profile.Run)
}

// Fleet returns a profile of n containers of Compose projects. Together, the containers have all 41 capabilities.
func Fleet(n int) profile.Profile {
	runs := make([]profile.Run, 0, n)
	all := workloads()
	for i := range n {
		w := all[i%len(all)]
		project := fmt.Sprintf("shop-%d", i/len(all)+1)
		r := run(i+1, w.uses...)
		r.ID = fmt.Sprint("fleet/", i)
		r.Observation.Host = fmt.Sprint("node-", i/len(all)%2+1)
		r.Container.ID = fmt.Sprintf("%064x", (i+1)*7919)
		r.Container.Name, r.Container.Image = project+"-"+w.service+"-1", w.image
		r.Container.ImageID = fmt.Sprintf("sha256:%064x", (i%len(all)+1)*104729)
		r.Container.Labels = map[string]string{"com.docker.compose.project": project, "com.docker.compose.service": w.service}
		granted := w.granted
		r.Grants = profile.Grants{Engine: &granted, Kernel: &granted, Permitted: &granted, Privileged: w.privileged}
		started := Saturday.Add(time.Duration(i) * time.Second)
		r.Started, r.Ended = &started, started.Add(time.Duration(10+i%50)*time.Minute)
		r.Checks, r.Processes = uint64(1000+37*i), uint32(3+i%9)
		r.Uses, r.Files = shifted(w.uses, started), w.files
		if w.change != nil {
			w.change(&r)
		}
		runs = append(runs, r)
	}
	return profile.New(runs...)
}

// shifted moves the times of uses, which workload has since Saturday.
func shifted(uses []profile.UsePattern, start time.Time) []profile.UsePattern {
	all := make([]profile.UsePattern, 0, len(uses))
	for _, use := range uses {
		use.First, use.Last = start.Add(use.First.Sub(Saturday)), start.Add(use.Last.Sub(Saturday))
		all = append(all, use)
	}
	return all
}

func between(first, last time.Duration) func(*profile.UsePattern) {
	return func(u *profile.UsePattern) { u.First, u.Last = Saturday.Add(first), Saturday.Add(last) }
}

func workloads() []workload {
	standard, everything := capability.DockerDefault(), capability.Known(capability.CheckpointRestore)
	const start, busy = 40 * time.Millisecond, 9 * time.Minute
	becomes := func(program string) []profile.UsePattern {
		return []profile.UsePattern{
			use(capability.Setgid, classify.Required, 3, checked(program, "setgroups", "__sys_setgroups"), between(start, start)),
			use(capability.Setuid, classify.Required, 3, checked(program, "setuid(101)", "__sys_setuid"), between(start, 2*start)),
		}
	}
	own := func(program string) profile.UsePattern {
		return use(capability.Chown, classify.Required, 12, checked(program, "chown", "setattr_prepare"), between(start/2, start))
	}
	files := []profile.File{}
	for _, file := range someFiles() {
		if file.Capability == capability.DACOverride && file.Granted {
			file.Count = 1
			files = append(files, file)
		}
	}
	return []workload{
		{service: "web", image: "nginx:1.27", granted: standard, uses: append(becomes("nginx"), own("nginx"),
			use(capability.NetBindService, classify.Required, 2, checked("nginx", "bind(AF_INET, port 80)", "__inet_bind"), between(start, start)))},
		{service: "db", image: "postgres:17", granted: standard.With(capability.DACReadSearch), files: files, uses: append(becomes("gosu"), own("chown"),
			use(capability.Fowner, classify.Required, 4, checked("chmod", "fchmodat", "setattr_prepare"), between(start, 3*start)),
			use(capability.DACOverride, classify.Required, 9, checked("tar", "openat(O_RDONLY)", "may_open"), between(2*start, busy)),
			use(capability.DACReadSearch, classify.Required, 7, checked("find", "openat", "may_open"), alternative(capability.DACOverride), between(start, start)))},
		{service: "cache", image: "redis:7.4", granted: standard, uses: append(becomes("redis-server"),
			use(capability.SysResource, classify.Denied, 1, checked("redis-server", "setrlimit(RLIMIT_NOFILE)", "do_prlimit"), between(start, start))),
			change: func(r *profile.Run) { r.Existed, r.Running = true, true }},
		{service: "ci-runner", image: "gitlab/gitlab-runner:v17.1", granted: everything, privileged: true, uses: []profile.UsePattern{
			own("install"), use(capability.SysAdmin, classify.Required, 8, checked("mount", "mount(overlay)", "path_mount"), between(time.Minute, busy))}},
		{service: "vpn", image: "registry.example.com/network/wireguard:2026.11", granted: standard.With(capability.NetAdmin).With(capability.SysModule), uses: []profile.UsePattern{
			use(capability.NetAdmin, classify.Required, 44, checked("wg", "sendmsg", "genl_rcv_msg"), between(start, busy)),
			use(capability.NetRaw, classify.Required, 3, checked("ping", "socket(AF_INET, SOCK_RAW, ICMP)", "inet_create"), between(30*time.Second, busy)),
			use(capability.SysTime, classify.Denied, 2, checked("date", "clock_settime", "security_settime64"), between(time.Second, time.Minute))}},
		{service: "backup", image: "restic/restic:0.17", granted: capability.Of(capability.DACReadSearch, capability.Fsetid, capability.IPCLock), uses: []profile.UsePattern{
			use(capability.DACReadSearch, classify.Required, 900, checked("restic", "openat", "may_open"), between(5*time.Second, busy)),
			use(capability.Fsetid, classify.Soft, 2, checked("restic", "fchmodat(02755)", "setattr_prepare"), between(6*time.Second, busy)),
			use(capability.IPCLock, classify.Required, 1, checked("restic", "mlockall", "do_mmap"), unsure("needed only beyond RLIMIT_MEMLOCK, which the kernel compares afterwards"), between(start, start))}},
		{service: "mail", image: "boky/postfix:4.3", granted: standard, uses: append(becomes("master"), own("postfix"),
			use(capability.Kill, classify.Required, 5, checked("master", "kill(SIGTERM)", "check_kill_permission"), between(busy, busy))),
			change: func(r *profile.Run) {
				r.Incomplete, r.Lost = []string{"17 checks of this container could not be recorded: its quota was used up"}, 17
			}},
		{service: "api", image: "shop/api:2026-11-28", granted: capability.Of(capability.NetBindService), uses: []profile.UsePattern{
			use(capability.NetBindService, classify.Required, 1, checked("api", "bind(AF_INET6, port 443)", "__inet_bind"), between(start, start))}},
	}
}

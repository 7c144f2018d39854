package e2e

import (
	"fmt"
	"slices"
	"strings"
	"testing"
)

// workload is a command to run in a container, with the expected report.
type workload struct {
	name string
	// grants are options of docker run that set the capabilities. The minimal flags replace them.
	grants  []string
	options []string
	command []string
	// stdout must be the same with the minimal flags. "" is not compared.
	stdout string

	required, implicit, soft, denied []string
	// tolerated are capabilities whose checks were denied in calls that succeeded.
	tolerated []string
	// atStart are capabilities that the workload used only at its start, before it gave them up.
	atStart []string
	// unsure are needs that capmon lists only to be safe.
	unsure []string
	// classes has other classes and capabilities that the report must have in them.
	classes map[string][]string
	// narrower is the capability that would be sufficient instead of the required one.
	narrower string
	// privileged are the required capabilities if every capability is granted, if they differ: of two sufficient
	// capabilities, the kernel checks the narrower one first.
	privileged, softPrivileged, atStartPrivileged []string
	// onlyRun: docker exec cannot run it in a container with default options.
	onlyRun bool
}

var workloads = []workload{
	{
		// As with engines other than Docker. Docker lets ping use another kind of socket.
		name: "ping", options: []string{"--sysctl=net.ipv4.ping_group_range=1 0"}, command: sh("ping -c1 127.0.0.1"), required: caps("NET_RAW"),
	},
	{name: "chown", command: sh("touch /tmp/chowned && chown 5 /tmp/chowned"), required: caps("CHOWN")},
	{name: "true", command: sh("true")},
	{name: "chmod-own", command: sh("touch /tmp/own && chmod 600 /tmp/own")},
	{
		name: "chmod-own-foreign-group", command: sh("touch /sgid/own && chmod 600 /sgid/own"),
		classes: map[string][]string{"redundant": caps("FSETID")},
	},
	{name: "setuid-0", command: []string{"probe", "setuid0"}, classes: map[string][]string{"redundant": caps("SETUID")}},
	{name: "setuid-0-of-32-bits", command: []string{"probe", "compat-setuid0"}, classes: map[string][]string{"redundant": caps("SETUID")}},
	{name: "setgid-0", command: []string{"probe", "setgid0"}, classes: map[string][]string{"redundant": caps("SETGID")}},
	{name: "capset-same", command: []string{"probe", "capset-same"}, classes: map[string][]string{"redundant": caps("SETPCAP")}},
	{
		name: "cat-secret", command: []string{"cat", "/data/secret"}, stdout: "secret\n",
		required: caps("DAC_OVERRIDE"), tolerated: caps("DAC_READ_SEARCH"),
		privileged: caps("DAC_READ_SEARCH"),
	},
	{name: "chroot", command: []string{"chroot", "/", "true"}, required: caps("SYS_CHROOT")},
	{name: "su", command: []string{"su", "user", "-c", "true"}, required: caps("SETGID", "SETUID"), atStart: caps("SETGID", "SETUID")},
	{name: "su-of-a-shell", command: sh("su user -c true; true"), required: caps("SETGID", "SETUID")},
	{name: "mknod", command: sh("mknod /tmp/null c 1 3"), required: caps("MKNOD")},
	{name: "kill", command: []string{"probe", "kill-user"}, required: caps("KILL", "SETUID")},
	{
		name: "bind-80-privileged", options: []string{"--sysctl=net.ipv4.ip_unprivileged_port_start=1024"},
		command: []string{"probe", "bind", "80"}, required: caps("NET_BIND_SERVICE"), onlyRun: true,
	},
	{name: "bind-80", command: []string{"probe", "bind", "80"}},
	{name: "write-set-group-id", command: []string{"probe", "write-sgid", "/tmp/sgid"}, stdout: "set-group-ID bit kept\n", soft: caps("FSETID")},
	{
		name: "entrypoint-of-another-user", command: []string{"/bin/private-true"},
		required: caps("DAC_OVERRIDE"), tolerated: caps("DAC_READ_SEARCH"),
	},
	{
		name: "unreadable-program", command: sh("cp /bin/busybox /tmp/true && chmod 111 /tmp/true && /tmp/true"),
		soft: caps("DAC_OVERRIDE"), tolerated: caps("DAC_READ_SEARCH"), softPrivileged: caps("DAC_READ_SEARCH"), onlyRun: true,
	},
	{
		name: "read-and-write-secret", command: sh("cat /data/secret && echo more >> /data/secret"),
		required: caps("DAC_OVERRIDE"), tolerated: caps("DAC_READ_SEARCH"),
	},
	{
		name: "write-network-sysctl", grants: []string{"--cap-add=NET_ADMIN"}, options: []string{"--security-opt=systempaths=unconfined"},
		command: sh("echo 4096 > /proc/sys/net/core/somaxconn"), classes: map[string][]string{"irrelevant": caps("NET_ADMIN")}, onlyRun: true,
	},
	{
		name: "mount", grants: []string{"--cap-add=SYS_ADMIN"}, command: sh("mount -t tmpfs none /mnt"),
		required: caps("SYS_ADMIN"), onlyRun: true,
	},
	{
		name: "forks", grants: []string{"--cap-add=SYS_ADMIN"}, command: sh("for i in 1 2 3 4 5 6 7 8 9; do (true | true); /bin/true; done"),
		classes: map[string][]string{"irrelevant": caps("SYS_ADMIN")}, onlyRun: true,
	},
	{
		name: "own-user-namespace", options: []string{"--security-opt=seccomp=unconfined", "--user=1000"},
		command: []string{"probe", "unshare-user-mount"},
		classes: map[string][]string{"nested-userns": caps("SYS_ADMIN")}, onlyRun: true,
	},
	{name: "as-user", options: []string{"--user=1000"}, command: sh("true"), onlyRun: true},
	{name: "access", command: []string{"probe", "access-w", "/data/secret"}, required: caps("DAC_OVERRIDE"), unsure: caps("DAC_OVERRIDE")},
	{name: "faccessat2", command: []string{"probe", "faccessat2-w", "/data/secret"}, required: caps("DAC_OVERRIDE"), unsure: caps("DAC_OVERRIDE")},
	{name: "packet-socket", command: []string{"probe", "packet"}, required: caps("NET_RAW")},
	// Needs without a check.
	{name: "file-capability", command: []string{"probe-bind", "bind", "8080"}, implicit: caps("NET_BIND_SERVICE")},
	{
		name: "file-capability-as-user", options: []string{"--user=1000", "--sysctl=net.ipv4.ip_unprivileged_port_start=1024"},
		command: []string{"probe-bind", "bind", "80"}, required: caps("NET_BIND_SERVICE"), onlyRun: true,
	},
	{name: "ambient", command: []string{"probe", "ambient", "10"}, implicit: caps("NET_BIND_SERVICE")},
	{name: "capset-only", command: []string{"probe", "capset-only", "10"}, implicit: caps("NET_BIND_SERVICE"), unsure: caps("NET_BIND_SERVICE")},
	{
		name: "capset-effective", command: []string{"probe", "capset-effective", "10"}, implicit: caps("NET_BIND_SERVICE"), unsure: caps("NET_BIND_SERVICE"),
	},
	{name: "capset-inheritable", command: []string{"probe", "capset-inheritable", "13"}, required: caps("SETPCAP"), implicit: caps("NET_RAW")},
	{
		name: "file-capability-to-raise", options: []string{"--user=1000"}, command: []string{"probe-raw", "capset-only", "13"},
		implicit: caps("NET_RAW"), unsure: caps("NET_RAW"), onlyRun: true,
	},
	{
		name: "map-root", options: []string{"--security-opt=seccomp=unconfined"},
		command: []string{"unshare", "-U", "-r", "true"}, implicit: caps("SETFCAP"), onlyRun: true,
	},
	{
		name: "file-capability-in-own-user-namespace", options: []string{"--security-opt=seccomp=unconfined"},
		command: []string{"unshare", "-U", "-r", "/bin/probe-bind", "bind", "8080"}, implicit: caps("SETFCAP"), onlyRun: true,
	},
	{
		name: "memory-policy", grants: []string{"--cap-add=SYS_NICE"}, command: []string{"probe", "set-mempolicy"},
		implicit: caps("SYS_NICE"), onlyRun: true,
	},
	{
		name: "user-namespace", grants: []string{"--cap-add=SYS_ADMIN"}, command: []string{"unshare", "-U", "true"},
		implicit: caps("SYS_ADMIN"), onlyRun: true,
	},
	{
		name: "seccomp-filter", grants: []string{"--cap-add=SYS_ADMIN"}, command: []string{"probe", "seccomp-filter"},
		required: caps("SYS_ADMIN"), onlyRun: true,
	},
	{
		name: "chroot-in-own-user-namespace", grants: []string{"--cap-add=SYS_ADMIN"}, command: []string{"unshare", "-U", "-r", "chroot", "/", "true"},
		implicit: caps("SETFCAP", "SYS_ADMIN", "SYS_CHROOT"), onlyRun: true,
	},
	{
		name: "chroot-in-own-user-namespace-unconfined", options: []string{"--security-opt=seccomp=unconfined"},
		command: []string{"unshare", "-U", "-r", "chroot", "/", "true"}, implicit: caps("SETFCAP"), onlyRun: true,
	},
	{
		name: "chroot-by-own-profile", options: []string{"--security-opt=seccomp=testdata/seccomp-chroot.json"}, grants: []string{"--cap-add=SYS_TIME"},
		command: []string{"chroot", "/", "true"}, required: caps("SYS_CHROOT"), implicit: caps("SYS_TIME"), onlyRun: true,
	},
	{
		name: "memory-policy-unconfined", grants: []string{"--cap-add=SYS_NICE"}, options: []string{"--security-opt=seccomp=unconfined"},
		command: []string{"probe", "set-mempolicy"}, onlyRun: true,
	},
	{
		name: "memory-policy-by-own-profile", grants: []string{"--cap-add=SYS_TIME"}, options: []string{"--security-opt=seccomp=testdata/seccomp.json"},
		command: []string{"probe", "set-mempolicy"}, implicit: caps("SYS_TIME"), onlyRun: true,
	},
	// The kernel makes the check first, and compares with a limit, an ID or a mode afterwards.
	{
		name: "map-locked-within", grants: []string{"--cap-add=IPC_LOCK"}, options: memlock(64), command: []string{"probe", "map-locked", "65536"},
		classes: map[string][]string{"redundant": caps("IPC_LOCK")}, onlyRun: true,
	},
	{
		name: "map-locked-beyond", grants: []string{"--cap-add=IPC_LOCK"}, options: memlock(64), command: []string{"probe", "map-locked", "65537"},
		required: caps("IPC_LOCK"), onlyRun: true,
	},
	{
		name: "map-locked-without", options: memlock(64), command: []string{"probe", "map-locked", "4096"},
		classes: map[string][]string{"redundant": caps("IPC_LOCK")}, onlyRun: true,
	},
	{
		name: "remap-locked-within", grants: []string{"--cap-add=IPC_LOCK"}, options: memlock(64), command: []string{"probe", "remap-locked", "4096", "65536"},
		classes: map[string][]string{"redundant": caps("IPC_LOCK")}, onlyRun: true,
	},
	{
		name: "remap-locked-beyond", grants: []string{"--cap-add=IPC_LOCK"}, options: memlock(64), command: []string{"probe", "remap-locked", "4096", "65537"},
		required: caps("IPC_LOCK"), onlyRun: true,
	},
	{
		name: "brk-locked-within", grants: []string{"--cap-add=IPC_LOCK"}, options: memlock(4096), command: []string{"probe", "brk-locked", "1000000"},
		classes: map[string][]string{"redundant": caps("IPC_LOCK")}, onlyRun: true,
	},
	{
		name: "brk-locked-beyond", grants: []string{"--cap-add=IPC_LOCK"}, options: memlock(64), command: []string{"probe", "brk-locked", "1000000"},
		required: caps("IPC_LOCK"), onlyRun: true,
	},
	{
		name: "lock-shared-memory", grants: []string{"--cap-add=IPC_LOCK"}, options: memlock(64), command: []string{"probe", "shm-lock"},
		required: caps("IPC_LOCK"), unsure: caps("IPC_LOCK"), onlyRun: true,
	},
	{
		// Docker's seccomp profile blocks io_uring since version 25.
		name: "io-uring", grants: []string{"--cap-add=IPC_LOCK"}, options: append(memlock(64), "--security-opt=seccomp=unconfined"), command: []string{"probe", "io-uring"},
		soft: caps("IPC_LOCK"), onlyRun: true,
	},
	{name: "queue", command: []string{"probe", "mq-open"}, classes: map[string][]string{"redundant": caps("SYS_RESOURCE")}},
	{name: "queue-within", command: []string{"probe", "mq-open", "10", "8192"}, classes: map[string][]string{"redundant": caps("SYS_RESOURCE")}},
	{
		name: "last-queue", options: []string{"--sysctl=fs.mqueue.queues_max=1"}, command: []string{"probe", "mq-open"},
		classes: map[string][]string{"redundant": caps("SYS_RESOURCE")}, onlyRun: true,
	},
	{name: "setfsuid-own", command: []string{"probe", "setfsuid", "0"}, stdout: "0\n"},
	{name: "setfsuid-other", command: []string{"probe", "setfsuid", "1000"}, stdout: "1000\n", soft: caps("SETUID")},
	// The kernel denies even a change to the present value. A program may continue after that or not.
	{name: "setgroups", command: []string{"probe", "setgroups", "5"}, required: caps("SETGID")},
	{name: "setgroups-same", command: []string{"probe", "setgroups-same"}, required: caps("SETGID"), unsure: caps("SETGID")},
	{name: "chown-open", command: []string{"probe", "chown-open", "/home/user", "5"}, required: caps("CHOWN")},
	{name: "chown-open-same", command: []string{"probe", "chown-open", "/home/user", "1000"}, required: caps("CHOWN"), unsure: caps("CHOWN")},
	{name: "chmod-open", command: []string{"probe", "chmod-open", "/home/user", "0700"}, required: caps("FOWNER")},
	{name: "chmod-open-same", command: []string{"probe", "chmod-open", "/home/user", "0755"}, required: caps("FOWNER"), unsure: caps("FOWNER")},
	{name: "capbset-drop", command: []string{"probe", "capbset-drop", "1"}, required: caps("SETPCAP"), unsure: caps("SETPCAP")},
	{name: "securebits", command: []string{"probe", "securebits"}, required: caps("SETPCAP")},
	{
		name: "chmod-set-group-id-foreign-group", command: sh("probe chmod-own /sgid/s 02710 && stat -c %a /sgid/s"), stdout: "2710\n",
		soft: caps("FSETID"),
	},
	{name: "chmod-set-group-id-own-group", command: []string{"probe", "chmod-own", "/tmp/s", "02710"}},
	{
		name: "acl-by-descriptor", options: []string{"--tmpfs=/acl:mode=2777,gid=5"}, command: []string{"probe", "set-acl", "/acl/a", "fd"},
		classes: map[string][]string{"redundant": caps("FSETID")}, onlyRun: true,
	},
	{
		name: "acl-by-path", options: []string{"--tmpfs=/acl:mode=2777,gid=5"}, command: []string{"probe", "set-acl", "/acl/a"},
		required: caps("FSETID"), unsure: caps("FSETID"), onlyRun: true,
	},
	{name: "noatime", command: []string{"probe", "open-noatime", "/home/user"}, required: caps("FOWNER"), unsure: caps("FOWNER")},
	{
		name: "large-buffer", grants: []string{"--cap-add=NET_ADMIN"}, command: []string{"probe", "setsockopt", "1", "33", "1000000"},
		required: caps("NET_ADMIN"), unsure: caps("NET_ADMIN"), onlyRun: true,
	},
	{
		name: "read-own-overlay", grants: []string{"--cap-add=SYS_ADMIN"}, options: []string{"--tmpfs=/t"},
		command:  sh("mkdir /t/a /t/b; touch /t/a/f; chown 1000 /t/a/f; mount -t overlay o -o lowerdir=/t/a:/t/b /mnt && cat /mnt/f"),
		required: caps("CHOWN", "SYS_ADMIN"), denied: caps("DAC_READ_SEARCH"), softPrivileged: caps("DAC_READ_SEARCH"),
		classes: map[string][]string{"irrelevant": caps("FOWNER")}, onlyRun: true,
	},
	{
		// The mounter gives the copy to the file's owner, even for a process that may not do so.
		name: "write-own-overlay-with-less", grants: []string{"--cap-add=SYS_ADMIN"}, options: []string{"--tmpfs=/t"},
		command:  sh("mkdir /t/a /t/b; mount -t overlay o -o lowerdir=/data,upperdir=/t/a,workdir=/t/b /mnt && probe bset-only 1 sh -c 'echo more >> /mnt/secret'"),
		required: caps("CHOWN", "DAC_OVERRIDE", "SETPCAP", "SYS_ADMIN"), soft: caps("FOWNER"), unsure: caps("SETPCAP"), atStart: caps("SETPCAP"),
		denied: caps("DAC_READ_SEARCH"), tolerated: caps("DAC_READ_SEARCH"),
		privileged: caps("CHOWN", "DAC_OVERRIDE", "DAC_READ_SEARCH", "SETPCAP", "SYS_ADMIN"), onlyRun: true,
	},
	{
		name: "read-absent-trusted-attribute", grants: []string{"--cap-add=SYS_ADMIN"}, command: sh("! probe getxattr /tmp trusted.none"),
		required: caps("SYS_ADMIN"), unsure: caps("SYS_ADMIN"), onlyRun: true,
	},
	{
		name: "read-absent-security-attribute", grants: []string{"--cap-add=SYS_ADMIN"}, command: sh("! probe getxattr /tmp security.none"),
		onlyRun: true,
	},
	{
		name: "read-pid-max", grants: []string{"--cap-add=SYS_ADMIN"}, command: sh("cat /proc/sys/kernel/pid_max && ls -l /proc/sys/kernel"),
		classes: map[string][]string{"irrelevant": caps("SYS_ADMIN")}, onlyRun: true,
	},
	{name: "listxattr", command: []string{"probe", "listxattr", "/dev/shm"}, classes: map[string][]string{"irrelevant": caps("SYS_ADMIN")}},
	{name: "network-sysctl", command: []string{"cat", "/proc/sys/net/ipv4/ip_default_ttl"}, classes: map[string][]string{"irrelevant": caps("NET_ADMIN")}},
	{
		name: "interface-that-is-not-there", grants: []string{"--cap-add=NET_ADMIN", "--cap-add=SYS_MODULE"}, command: sh("! ifconfig none"),
		classes: map[string][]string{"irrelevant": caps("NET_ADMIN", "SYS_MODULE")}, onlyRun: true,
	},
	{name: "setpriority", grants: []string{"--cap-add=SYS_NICE"}, command: []string{"probe", "setpriority", "5"}, required: caps("SYS_NICE"), onlyRun: true},
	{name: "unshare", grants: []string{"--cap-add=SYS_ADMIN"}, command: []string{"unshare", "-i", "true"}, required: caps("SYS_ADMIN"), onlyRun: true},
	// Either of two capabilities is sufficient.
	{name: "mark", command: []string{"probe", "setsockopt", "1", "36", "1"}, required: caps("NET_RAW")},
	{name: "priority", command: []string{"probe", "setsockopt", "1", "12", "7"}, required: caps("NET_RAW")},
	{name: "priority-for-all", command: []string{"probe", "setsockopt", "1", "12", "6"}},
	{name: "transparent", command: []string{"probe", "setsockopt", "0", "19", "1"}, required: caps("NET_RAW")},
	{
		name: "mark-as-administrator", grants: []string{"--cap-drop=ALL", "--cap-add=NET_ADMIN"}, command: []string{"probe", "setsockopt", "1", "36", "1"},
		required: caps("NET_ADMIN"), tolerated: caps("NET_RAW"), narrower: "NET_RAW", privileged: caps("NET_RAW"), onlyRun: true,
	},
	{
		name: "realtime-io", grants: []string{"--cap-add=SYS_ADMIN"}, command: []string{"probe", "ioprio-realtime"},
		required: caps("SYS_NICE"), onlyRun: true,
	},
	{
		name: "realtime-io-with-less", grants: []string{"--cap-add=SYS_ADMIN"}, command: []string{"probe", "bset-only", "21", "probe", "ioprio-realtime"},
		required: caps("SETPCAP", "SYS_ADMIN"), unsure: caps("SETPCAP"), atStart: caps("SETPCAP"), onlyRun: true,
	},
	{
		name: "realtime-io-of-an-administrator", grants: []string{"--cap-add=SYS_ADMIN"}, command: sh("mount -t tmpfs none /mnt && probe ioprio-realtime"),
		required: caps("SYS_ADMIN"), onlyRun: true,
	},
	{
		name: "congestion-control", grants: []string{"--cap-add=NET_ADMIN"}, command: []string{"probe", "congestion", "reno"},
		required: caps("NET_ADMIN"), unsure: caps("NET_ADMIN"), onlyRun: true,
	},
	{
		// Docker 28 and later open a packet socket in a network for a while, to announce the address.
		name: "list-packet-sockets", options: []string{"--network=none"}, grants: []string{"--cap-add=NET_ADMIN"},
		command: []string{"probe", "packet-diag"}, stdout: "3\n",
		soft: caps("NET_ADMIN"), onlyRun: true,
	},
	{name: "memfd", command: []string{"probe", "memfd-exec", "rawsock"}, required: caps("NET_RAW")},
	{name: "thread", command: []string{"probe", "thread", "rawsock"}, required: caps("NET_RAW")},
	{name: "vfork", command: []string{"probe", "vfork", "rawsock"}, required: caps("NET_RAW")},
	{
		name: "io-uring-worker", options: []string{"--security-opt=seccomp=unconfined"}, command: []string{"probe", "io-uring-open", "/data/secret"},
		required: caps("DAC_OVERRIDE"), denied: caps("IPC_LOCK"), tolerated: caps("DAC_READ_SEARCH"),
		privileged: caps("DAC_READ_SEARCH"), softPrivileged: caps("IPC_LOCK"), onlyRun: true,
	},
	{
		name: "io-uring-registered", options: []string{"--security-opt=seccomp=unconfined"}, command: []string{"probe", "io-uring-open", "/data/secret", "1001"},
		required: caps("DAC_OVERRIDE", "SETUID"), atStart: caps("SETUID"), denied: caps("IPC_LOCK"), tolerated: caps("DAC_READ_SEARCH"),
		privileged: caps("DAC_READ_SEARCH", "SETUID"), softPrivileged: caps("IPC_LOCK"), atStartPrivileged: caps("IPC_LOCK", "SETUID"), onlyRun: true,
	},
	{name: "exec-by-thread", command: []string{"probe", "thread-exec", "rawsock"}, required: caps("NET_RAW")},
}

func caps(names ...string) []string { return names }

// memlock returns the options of docker run that limit locked memory.
func memlock(kilobytes int) []string {
	return []string{fmt.Sprintf("--ulimit=memlock=%d:%[1]d", kilobytes<<10)}
}

func sh(script string) []string { return []string{"sh", "-c", script} }

// dockerRun returns the command line of docker run for the workload.
func (w workload) dockerRun(name string, grants ...string) []string {
	return slices.Concat([]string{"docker", "run", "--rm", "--name", name}, grants, w.options, []string{"bb"}, w.command)
}

// check compares the report with the expected one.
func (w workload) check(t *testing.T, got seen) {
	t.Helper()
	for _, fault := range w.faults(t, got) {
		t.Error(fault)
	}
}

// faults returns the differences between a report and the workload's expected one.
func (w workload) faults(t *testing.T, got seen) (all []string) {
	t.Helper()
	fault := func(format string, args ...any) { all = append(all, fmt.Sprintf(format, args...)) }
	sameSet := func(what string, got, wanted []string) {
		if !slices.Equal(got, wanted) {
			fault("%s: got %v, wanted %v", what, got, wanted)
		}
	}
	if w.unseen(t) != "" {
		for class, those := range w.classes {
			for _, capability := range those {
				if slices.Contains(got.Classes[class], capability) {
					fault("%s is counted as %s, which this kernel is not expected to show", capability, class)
				}
			}
		}
		w.required, w.implicit, w.unsure, w.classes = nil, nil, nil, nil
	}
	sameSet("required", got.Required, w.required)
	sameSet("implicit", got.Implicit, w.implicit)
	sameSet("soft", got.Soft, w.soft)
	sameSet("denied", got.Denied, w.denied)
	sameSet("unsure", got.Unsure, w.unsure)
	sameSet("tolerated", got.Classes["tolerated"], w.tolerated)
	if !got.Skipped { // otherwise the report may lack checks
		sameSet("at start", got.AtStart, w.atStart)
	}
	sameSet("unwatched", got.Unwatched, nil)
	sameSet("unexamined", got.Unexamined, nil)
	for class, wanted := range w.classes {
		for _, capability := range wanted {
			if !slices.Contains(got.Classes[class], capability) {
				fault("%s is not counted as %s: %v", capability, class, got.Classes)
			}
		}
	}
	if w.narrower != "" && (len(got.Narrower) != 1 || got.Narrower[0].Narrower != w.narrower) {
		fault("%s is not named as the narrower one: %v", w.narrower, got.Narrower)
	}
	if !got.Complete || got.Lost != 0 {
		fault("the observation is not complete: %+v", got)
	}
	return all
}

func same(t *testing.T, what string, got, wanted []string) {
	t.Helper()
	if !slices.Equal(got, wanted) {
		t.Errorf("%s: got %v, wanted %v", what, got, wanted)
	}
}

func TestProfileCommandNeeds(t *testing.T) {
	t.Parallel()
	for _, w := range workloads {
		t.Run(w.name, func(t *testing.T) {
			t.Parallel()
			name := "run-" + w.name
			r := execute(t, append([]string{binary, "profile", "-o", "json", "--"}, w.dockerRun(name, w.grants...)...)...)
			if r.code != 0 {
				t.Fatalf("exit code %d: %s", r.code, r.stderr)
			}
			got := parseReport(t, r)
			if len(got) != 1 {
				t.Fatalf("got %d containers, wanted 1: %+v", len(got), got)
			}
			w.check(t, only(t, got, name))

			// With its list the workload works, and needs exactly this list.
			r = execute(t, append([]string{binary, "profile", "-o", "json", "--"}, w.dockerRun(name, got[0].Flags...)...)...)
			if r.code != 0 || !strings.Contains(r.stderr, w.stdout) {
				t.Fatalf("under %v: exit code %d, %s", got[0].Flags, r.code, r.stderr)
			}
			same(t, "under its list", only(t, parseReport(t, r), name).Flags, got[0].Flags)
			if w.narrower != "" {
				mustExecute(t, w.dockerRun(name, "--cap-drop=ALL", "--cap-add="+w.narrower)...)
			}
		})
	}
}

func TestProfilePrivilegedNeeds(t *testing.T) {
	t.Parallel()
	for _, w := range workloads {
		t.Run(w.name, func(t *testing.T) {
			t.Parallel()
			name := "privileged-" + w.name
			r := execute(t, append([]string{binary, "profile", "-o", "json", "--"}, w.dockerRun(name, "--privileged")...)...)
			if r.code != 0 {
				t.Fatalf("exit code %d: %s", r.code, r.stderr)
			}
			got := only(t, parseReport(t, r), name)
			w.denied, w.tolerated, w.narrower = nil, nil, ""
			if w.privileged != nil {
				w.required = w.privileged
			}
			if w.softPrivileged != nil {
				w.soft = w.softPrivileged
			}
			if w.atStartPrivileged != nil {
				w.atStart = w.atStartPrivileged
			}
			w.check(t, got)
			mustExecute(t, w.dockerRun(name, got.Flags...)...)
		})
	}
}

func TestProfileExecNeeds(t *testing.T) {
	t.Parallel()
	for _, w := range workloads {
		if w.onlyRun {
			continue
		}
		t.Run(w.name, func(t *testing.T) {
			t.Parallel()
			name := "exec-" + w.name
			startSleeper(t, name, w.options...)
			observation := watch(t, name)
			mustExecute(t, append([]string{"docker", "exec", name}, w.command...)...)
			r := observation.interrupt()
			if r.code != 0 {
				t.Fatalf("exit code %d: %s", r.code, r.stderr)
			}
			got := only(t, parseReport(t, r), name)
			w.atStart = nil // the container's first process keeps all capabilities
			w.check(t, got)
			if !got.Existed || !got.Running || len(got.Cautions) == 0 {
				t.Errorf("the report does not say that the container ran before and still runs: %+v", got)
			}
		})
	}
}

// startSleeper starts a container that does nothing until the test ends.
func startSleeper(t *testing.T, name string, options ...string) {
	t.Helper()
	mustExecute(t, slices.Concat([]string{"docker", "run", "-d", "--name", name}, options, []string{"bb", "sleep", "100000"})...)
	t.Cleanup(func() { mustExecute(t, "docker", "rm", "-f", name) })
}

// If a program sets the capabilities that it already has, capmon does not see which of them it insists on. The report
// says so if there are many of them, and lists them if there are few.
func TestCapsetOfHeldCapabilities(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		w    workload
		kept bool
	}{
		{w: workload{
			name: "held-fixed", grants: []string{"--cap-drop=ALL", "--cap-add=NET_BIND_SERVICE"}, command: []string{"probe", "capset-only", "10"},
			implicit: caps("NET_BIND_SERVICE"), unsure: caps("NET_BIND_SERVICE"),
		}},
		{w: workload{
			name: "held-raised", grants: []string{"--cap-drop=ALL", "--cap-add=NET_RAW"}, command: []string{"probe", "capset-raise", "13"},
			implicit: caps("NET_RAW"), unsure: caps("NET_RAW"),
		}},
		{w: workload{name: "held-many", command: []string{"probe", "capset-raise", "13"}}, kept: true},
	} {
		t.Run(test.w.name, func(t *testing.T) {
			t.Parallel()
			r := execute(t, append([]string{binary, "profile", "-o", "json", "--"}, test.w.dockerRun(test.w.name, test.w.grants...)...)...)
			got := only(t, parseReport(t, r), test.w.name)
			test.w.check(t, got)
			if kept := strings.Contains(fmt.Sprint(got.Cautions), "kept all their capabilities with capset: probe"); kept != test.kept {
				t.Errorf("cautions: %v", got.Cautions)
			}
			if !test.kept {
				mustExecute(t, test.w.dockerRun(test.w.name, got.Flags...)...)
			}
		})
	}
}

// A thread that the kernel creates for io_uring has the registers of a system call that opens no file. This workload is
// not in the table, because the engine decides whether a privileged container has CHECKPOINT_RESTORE.
func TestIoUringThreadOpensSysctlForWriting(t *testing.T) {
	t.Parallel()
	w := workload{
		name: "ring-writes-sysctl", grants: []string{"--cap-add=SYS_ADMIN"}, options: []string{"--security-opt=seccomp=unconfined", "--security-opt=systempaths=unconfined"},
		command: []string{"probe", "io-uring-write", "/proc/sys/kernel/sem_next_id"}, required: caps("SYS_ADMIN"), denied: caps("IPC_LOCK"),
		tolerated: caps("CHECKPOINT_RESTORE"),
	}
	r := execute(t, append([]string{binary, "profile", "-o", "json", "--"}, w.dockerRun(w.name, w.grants...)...)...)
	if r.code != 0 {
		t.Fatalf("exit code %d: %s", r.code, r.stderr)
	}
	got := only(t, parseReport(t, r), w.name)
	w.check(t, got)
	mustExecute(t, w.dockerRun(w.name, got.Flags...)...)
}

// A workload that fails has no minimal flags to run with. It needs nothing else, but the report has what was denied.
func TestDeniedChecksThatMatterAreReported(t *testing.T) {
	t.Parallel()
	for _, w := range []workload{
		{name: "a-large-queue", command: sh("! probe mq-open 11 100"), denied: caps("SYS_RESOURCE")},
		{name: "one-queue-more", options: []string{"--sysctl=fs.mqueue.queues_max=0"}, command: sh("! probe mq-open"), denied: caps("SYS_RESOURCE")},
		{name: "large-messages", command: sh("! probe mq-open 1 8193"), denied: caps("SYS_RESOURCE")},
		{name: "much-locked", options: memlock(64), command: sh("! probe map-locked 65537"), denied: caps("IPC_LOCK")},
		{name: "a-higher-limit", command: sh("! probe raise-limit"), denied: caps("SYS_RESOURCE")},
		{name: "one-more-capability", command: sh("! probe capset-add 24"), denied: caps("SYS_RESOURCE")},
	} {
		t.Run(w.name, func(t *testing.T) {
			r := execute(t, append([]string{binary, "profile", "-o", "json", "--"}, w.dockerRun(w.name)...)...)
			w.check(t, only(t, parseReport(t, r), w.name))
		})
	}
}

// Docker before 20.10.13 does not know the names of the narrower capabilities, so the test cannot run anything with
// only those.
func TestSysAdminIsWiderThanBPFAndPerfmon(t *testing.T) {
	t.Parallel()
	for _, w := range []workload{
		{name: "an-array", command: []string{"probe", "bpf-array"}, required: caps("SYS_ADMIN"), tolerated: caps("BPF"), narrower: "BPF"},
		{name: "a-counter", command: []string{"probe", "perf-clock"}, required: caps("SYS_ADMIN"), tolerated: caps("PERFMON"), narrower: "PERFMON"},
	} {
		w.options = []string{"--security-opt=seccomp=unconfined"}
		t.Run(w.name, func(t *testing.T) {
			r := execute(t, append([]string{binary, "profile", "-o", "json", "--"}, w.dockerRun(w.name, "--cap-add=SYS_ADMIN")...)...)
			w.check(t, only(t, parseReport(t, r), w.name))
		})
	}
}

// A process that has only one of two capabilities cannot use the other one instead.
func TestProcessWithOneOfTwoCapabilitiesNeedsIt(t *testing.T) {
	t.Parallel()
	for _, w := range []workload{
		{
			name:     "only-the-narrow-one",
			command:  sh("mkdir -m 700 /tmp/d && chown 1000 /tmp/d && probe bset-only 2 ls /tmp/d && touch /tmp/d/x"),
			required: caps("CHOWN", "DAC_OVERRIDE", "DAC_READ_SEARCH", "SETPCAP"), unsure: caps("SETPCAP"),
		},
		{
			name:     "only-the-wide-one",
			command:  sh("probe bset-only 1 cat /data/secret && cat /data/secret"),
			required: caps("DAC_OVERRIDE", "SETPCAP"), unsure: caps("SETPCAP"), tolerated: caps("DAC_READ_SEARCH"),
		},
	} {
		t.Run(w.name, func(t *testing.T) {
			t.Parallel()
			r := execute(t, append([]string{binary, "profile", "-o", "json", "--"}, w.dockerRun(w.name, "--cap-add=ALL")...)...)
			got := only(t, parseReport(t, r), w.name)
			w.check(t, got)
			mustExecute(t, w.dockerRun(w.name, got.Flags...)...)
		})
	}
}

// mixed makes several uses, and several checks that are not uses.
var mixed = workload{
	command:  sh("touch /tmp/m && chmod 600 /tmp/m && chown 5 /tmp/m && cat /data/secret && probe setuid0 && probe rawsock"),
	required: caps("CHOWN", "DAC_OVERRIDE", "NET_RAW"), tolerated: caps("DAC_READ_SEARCH"),
}

// surroundings are options that change namespaces, cgroups or processes, but not needs.
var surroundings = map[string][]string{
	"pid-host":          {"--pid=host"},
	"network-host":      {"--network=host"},
	"ipc-host":          {"--ipc=host"},
	"uts-host":          {"--uts=host"},
	"cgroupns-host":     {"--cgroupns=host"},
	"init":              {"--init"},
	"cgroup-parent":     {"--cgroup-parent=/capmon-test/parent"},
	"no-new-privileges": {"--security-opt=no-new-privileges"},
	"seccomp":           {"--security-opt=seccomp=unconfined"},
	"tmpfs-read-only":   {"--read-only", "--tmpfs=/tmp"},
}

func TestNamespaceOptionsChangeNoNeeds(t *testing.T) {
	t.Parallel()
	for name, options := range surroundings {
		w := mixed
		w.options = options
		t.Run(name+"/run", func(t *testing.T) {
			t.Parallel()
			r := execute(t, append([]string{binary, "profile", "-o", "json", "--"}, w.dockerRun("around-"+name)...)...)
			got := only(t, parseReport(t, r), "around-"+name)
			w.check(t, got)
			mustExecute(t, w.dockerRun("around-"+name, got.Flags...)...)
		})
		t.Run(name+"/exec", func(t *testing.T) {
			t.Parallel()
			startSleeper(t, "inside-"+name, options...)
			observation := watch(t, "inside-"+name)
			mustExecute(t, append([]string{"docker", "exec", "inside-" + name}, w.command...)...)
			w.check(t, only(t, parseReport(t, observation.interrupt()), "inside-"+name))
		})
	}
}

func TestUserWithoutCapabilitiesNeedsNone(t *testing.T) {
	t.Parallel()
	w := workload{
		options: []string{"--user=1000"},
		command: sh("cat /data/secret; ! chown 5 /data/secret"),
		denied:  caps("CHOWN"),
	}
	r := execute(t, append([]string{binary, "profile", "-o", "json", "--"}, w.dockerRun("as-1000")...)...)
	got := only(t, parseReport(t, r), "as-1000")
	w.check(t, got)
	if !strings.Contains(fmt.Sprint(got.Cautions), "remove all granted capabilities") {
		t.Errorf("no caution says that all capabilities can go: %v", got.Cautions)
	}
}

// All users may read kernel.pid_max.
func TestReadingPidMaxAsUserNeedsNothing(t *testing.T) {
	t.Parallel()
	w := workload{options: []string{"--user=1000"}, command: []string{"cat", "/proc/sys/kernel/pid_max"}}
	r := execute(t, append([]string{binary, "profile", "-o", "json", "--"}, w.dockerRun("pid-max")...)...)
	w.check(t, only(t, parseReport(t, r), "pid-max"))
}

// Go programs that listen read this file. The kernel denies CAP_NET_ADMIN without an effect.
func TestReadingANetworkSysctlNeedsNothing(t *testing.T) {
	t.Parallel()
	w := workload{
		options: []string{"--user=1000"}, command: []string{"cat", "/proc/sys/net/core/somaxconn"},
		classes: map[string][]string{"irrelevant": caps("NET_ADMIN")},
	}
	r := execute(t, append([]string{binary, "profile", "-o", "json", "--"}, w.dockerRun("sysctl")...)...)
	w.check(t, only(t, parseReport(t, r), "sysctl"))
}

func TestExecAsRootIntoUsersContainerNeedsKill(t *testing.T) {
	t.Parallel()
	startSleeper(t, "killed", "--user=1000", "--init")
	observation := watch(t, "killed")
	mustExecute(t, "docker", "exec", "-u", "0", "killed", "kill", "-CONT", "-1")
	w := workload{required: caps("KILL")}
	w.check(t, only(t, parseReport(t, observation.interrupt()), "killed"))
}

// The work of the health check counts, the runtime setup of its exec does not.
func TestHealthCheckCounts(t *testing.T) {
	t.Parallel()
	w := workload{
		options:  []string{"--health-interval=200ms", "--health-cmd=chown 5 /tmp/h && touch /tmp/done"},
		command:  sh("touch /tmp/h; until [ -e /tmp/done ]; do sleep 0.1; done"),
		required: caps("CHOWN"),
	}
	r := execute(t, append([]string{binary, "profile", "-o", "json", "--"}, w.dockerRun("healthy")...)...)
	got := only(t, parseReport(t, r), "healthy")
	w.check(t, got)
	mustExecute(t, w.dockerRun("healthy", got.Flags...)...)
}

func TestCgroupsBelowAContainerBelongToIt(t *testing.T) {
	t.Parallel()
	w := workload{command: []string{"probe", "cgroup-below", "rawsock"}, required: caps("NET_RAW")}
	r := execute(t, append([]string{binary, "profile", "-o", "json", "--"}, w.dockerRun("below", "--privileged")...)...)
	got := parseReport(t, r)
	if len(got) != 1 {
		t.Fatalf("got %d containers, wanted 1", len(got))
	}
	w.check(t, only(t, got, "below"))
}

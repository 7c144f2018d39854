package monitor

import "testing"

// busy makes checks of many kinds, granted and denied ones. It calls system calls about files, networks, ids and
// processes, and makes user namespaces of its own.
const busy = `
touch /tmp/m /sgid/m; chmod 600 /tmp/m /sgid/m; chown 5 /tmp/m; chgrp 5 /tmp/m
cat /data/secret; mknod /tmp/n c 1 3; ping -c1 127.0.0.1; chroot / true; su user -c 'cat /etc/shadow'
probe setuid0; probe setfsuid0; probe capset-same; probe access-w /data/secret; probe kill-user; probe packet
probe memfd-exec rawsock; probe thread-exec rawsock; probe-bind fork 3; mount -t tmpfs none /mnt
probe unshare-user-mount; unshare -Ur sh -c 'probe setuid0; mount -t tmpfs none /mnt; hostname x'
unshare -Ur unshare -Ur probe rawsock; /bin/private-true; true`

func TestComputedAnswersEqualTheKernels(t *testing.T) {
	for name, test := range map[string]struct {
		options []string
		want    []Answer // computed answers that must occur
	}{
		"with defaults":           {nil, []Answer{Held, NotHeld}},
		"as a user":               {[]string{"--user=1000"}, []Answer{NotHeld}},
		"privileged":              {[]string{"--privileged"}, []Answer{Held, OwnsUserns, OutsideUserns}},
		"with no capabilities":    {[]string{"--cap-drop=ALL"}, []Answer{NotHeld}},
		"with namespaces allowed": {[]string{"--security-opt=seccomp=unconfined"}, []Answer{Held, OwnsUserns, NotHeld, OutsideUserns}},
	} {
		t.Run(name, func(t *testing.T) {
			m := start(t, Options{})
			c := find(t, m, run(t, append(test.options, "bb", "sh", "-c", busy)...))
			for _, answer := range test.want {
				workload := matching(c, func(c Check) bool { return c.Answer == answer && c.Phase == Workload })
				if len(workload) == 0 {
					t.Errorf("no check was answered %d", answer)
				}
			}
			lossless(t, snapshot(t, m))
		})
	}
}

package e2e

import (
	"slices"
	"strings"
	"testing"
)

// These tests change the memory that a system call reads after the kernel has copied it, and executed files after
// capmon or the kernel has read them: see docs/threats.md.

// profileOf profiles the workload in a new container.
func (w workload) profileOf(t *testing.T, name string) seen {
	t.Helper()
	r := execute(t, append([]string{binary, "profile", "-o", "json", "--"}, w.dockerRun(name, w.grants...)...)...)
	if r.code != 0 {
		t.Fatalf("exit code %d: %s%s", r.code, r.stdout, r.stderr)
	}
	return only(t, parseReport(t, r), name)
}

// races is the number of attempts: not every attempt wins the race.
const races = 3

func TestValuesThatChangeHideNothing(t *testing.T) {
	t.Parallel()
	unconfined, resources := []string{"--security-opt=seccomp=unconfined"}, []string{"--cap-add=SYS_RESOURCE"}
	for _, w := range []workload{
		{name: "capset", required: caps("SETPCAP")},
		{name: "thread-capset", required: caps("SETPCAP")},
		{name: "mq-open", denied: caps("SYS_RESOURCE")},
		{name: "thread-mq-open", denied: caps("SYS_RESOURCE")},
		{name: "mq-open", grants: resources, required: caps("SYS_RESOURCE")},
		// Another thread may also replace the file that the descriptor refers to.
		{name: "thread-mq-open", grants: resources, required: caps("SYS_RESOURCE"), unsure: caps("SYS_RESOURCE")},
		{name: "map-root", options: unconfined, implicit: caps("SETFCAP")},
		{name: "thread-map-root", options: unconfined, implicit: caps("SETFCAP")},
		{name: "writev-root", options: unconfined, implicit: caps("SETFCAP")},
		{name: "clone3", grants: []string{"--cap-add=SYS_ADMIN"}, implicit: caps("SYS_ADMIN")},
	} {
		t.Run(strings.Join(append([]string{w.name}, w.grants...), ""), func(t *testing.T) {
			w.command = []string{"attack-values", w.name}
			var got seen
			for range races {
				got = w.profileOf(t, "values-"+w.name)
				w.mustHideNothing(t, got)
			}
			mustExecute(t, w.dockerRun("values-"+w.name, got.Flags...)...)
		})
	}
}

// mustHideNothing verifies that a report has the workload's needs, and whether it marks them as unsure.
func (w workload) mustHideNothing(t *testing.T, got seen) {
	t.Helper()
	// On a single processor, no thread runs while the kernel reads a value of another thread, unless the kernel
	// preempts that thread at this point. A value that has not changed is certain.
	parallel := mustExecute(t, "docker", "info", "--format={{.NCPU}}") != "1\n"
	wanted := func(capability string, among []string, class string) {
		unsure, mayBe := slices.Contains(got.Unsure, capability), slices.Contains(w.unsure, capability)
		if !slices.Contains(among, capability) || unsure != mayBe && (unsure || parallel) {
			t.Errorf("%s is not %s: unsure %v, %v", capability, class, got.Unsure, got.Classes)
		}
	}
	for _, capability := range w.required {
		if slices.Contains(got.Granted, capability) {
			wanted(capability, got.Required, "required")
		} else { // the host itself does not have it
			same(t, "denied", got.Denied, caps(capability))
		}
	}
	for _, capability := range w.implicit {
		wanted(capability, got.Implicit, "implicit")
	}
	for _, capability := range w.denied {
		wanted(capability, got.Denied, "denied")
	}
}

// capmon does not trust values in memory if it does not see when a system call returns.
func TestValuesAreUnsureWithoutOutcomes(t *testing.T) {
	t.Parallel()
	w := workload{command: sh("probe capset-same; probe mq-open 10 8192; probe mq-open")}
	r := execute(t, append([]string{binary, "profile", "--outcomes=false", "-o", "json", "--"}, w.dockerRun("values-alone")...)...)
	got := only(t, parseReport(t, r), "values-alone")
	same(t, "required", got.Required, caps("SETPCAP"))
	same(t, "unsure", got.Unsure, caps("SETPCAP"))
	same(t, "denied", got.Denied, caps("SYS_RESOURCE"))
}

// The file received its capability after its execution, or it reuses the inode number of another file.
func TestFilesThatChangeHideNothing(t *testing.T) {
	t.Parallel()
	for _, directory := range []string{"/tmp", "/volume"} {
		for _, how := range []string{"later", "reused"} {
			t.Run(how+directory, func(t *testing.T) {
				volume := func() []string { return []string{"--volume=" + t.TempDir() + ":/volume"} }
				w := workload{
					options: volume(), command: []string{"attack-file-capability", how, directory}, required: caps("SETFCAP"), implicit: caps("NET_RAW"),
				}
				got := w.profileOf(t, "file-capability-"+how)
				w.mustHideNothing(t, got)
				w.options = volume()
				mustExecute(t, w.dockerRun("file-capability-"+how, got.Flags...)...)
			})
		}
	}
}

// If a file lost its capability before capmon read the file, its capabilities are unknown, and the report says so.
func TestFilesThatHaveChangedAreReported(t *testing.T) {
	t.Parallel()
	w := workload{command: []string{"attack-file-capability", "sooner", "/tmp"}}
	for range races {
		got := w.profileOf(t, "file-capability-sooner")
		if !slices.Contains(got.Implicit, "NET_RAW") && !slices.Contains(got.Unexamined, "/tmp/program") {
			t.Errorf("implicit %v, unexamined %v", got.Implicit, got.Unexamined)
		}
	}
}

package main

import (
	"slices"
	"testing"
)

// These tests change what a system call points to after the kernel has copied it, and executed
// files after they were looked at: docs/threats.md.

// profileOf profiles a container of its own.
func (w workload) profileOf(t *testing.T, name string) seen {
	t.Helper()
	r := execute(t, append([]string{binary, "profile", "-o", "json", "--"}, w.dockerRun(name, w.grants...)...)...)
	if r.code != 0 {
		t.Fatalf("exit code %d: %s%s", r.code, r.stdout, r.stderr)
	}
	return only(t, parseReport(t, r), name)
}

// races is how often each is tried: not every one is won.
const races = 5

func TestValuesThatChangeHideNothing(t *testing.T) {
	unconfined := []string{"--security-opt=seccomp=unconfined"}
	for _, w := range []workload{
		{name: "capset", required: caps("SETPCAP")},
		{name: "thread-capset", required: caps("SETPCAP")},
		{name: "mq-open", denied: caps("SYS_RESOURCE")},
		{name: "thread-mq-open", denied: caps("SYS_RESOURCE")},
		{name: "map-root", options: unconfined, demanded: caps("SETFCAP")},
		{name: "thread-map-root", options: unconfined, demanded: caps("SETFCAP")},
		{name: "writev-root", options: unconfined, demanded: caps("SETFCAP")},
		{name: "clone3", grants: []string{"--cap-add=SYS_ADMIN"}, demanded: caps("SYS_ADMIN")},
	} {
		t.Run(w.name, func(t *testing.T) {
			w.command = []string{"attack-values", w.name}
			for range races {
				got := w.profileOf(t, "values-"+w.name)
				for _, capability := range w.required {
					if !slices.Contains(got.Required, capability) || slices.Contains(got.Unsure, capability) != slices.Contains(w.unsure, capability) {
						t.Errorf("required %v, unsure %v, %v", got.Required, got.Unsure, got.Classes)
					}
				}
				for _, capability := range w.denied {
					if !slices.Contains(got.Denied, capability) {
						t.Errorf("denied %v, %v", got.Denied, got.Classes)
					}
				}
				for _, capability := range w.demanded {
					if !slices.Contains(got.Demanded, capability) || slices.Contains(got.Unsure, capability) {
						t.Errorf("demanded %v, unsure %v, %v", got.Demanded, got.Unsure, got.Classes)
					}
				}
			}
		})
	}
}

// The values that are not the kernel's own are never believed where nothing tells when a system
// call returns.
func TestValuesAreUnsureWithoutReturns(t *testing.T) {
	w := workload{grants: []string{"--cap-add=SYS_RESOURCE"}, command: sh("probe capset-same; probe mq-open 10 8192; probe mq-open")}
	r := execute(t, append([]string{binary, "profile", "--outcomes=false", "-o", "json", "--"}, w.dockerRun("values-alone", w.grants...)...)...)
	got := only(t, parseReport(t, r), "values-alone")
	same(t, "required", got.Required, caps("SETPCAP", "SYS_RESOURCE"))
	same(t, "unsure", got.Unsure, caps("SETPCAP", "SYS_RESOURCE"))
}

// A file that got its capability after it was executed, or by a number that another one had.
func TestFilesThatChangeHideNothing(t *testing.T) {
	for _, directory := range []string{"/tmp", "/scratch"} {
		for _, how := range []string{"later", "reused"} {
			t.Run(how+directory, func(t *testing.T) {
				w := workload{
					options: []string{"--tmpfs=/scratch:exec,suid"}, command: []string{"attack-file-capability", how, directory},
					required: caps("SETFCAP"), demanded: caps("NET_RAW"),
				}
				w.check(t, w.profileOf(t, "file-capability-"+how))
			})
		}
	}
}

// A file whose capability has gone again before it was looked at carried none that is known, and
// the report says so.
func TestFilesThatHaveChangedAreTold(t *testing.T) {
	w := workload{command: []string{"attack-file-capability", "sooner", "/tmp"}}
	for range races {
		got := w.profileOf(t, "file-capability-sooner")
		if !slices.Contains(got.Demanded, "NET_RAW") && !slices.Contains(got.Unexamined, "/tmp/program") {
			t.Errorf("demanded %v, unexamined %v", got.Demanded, got.Unexamined)
		}
	}
}

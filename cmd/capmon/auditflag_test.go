package main

import (
	"slices"
	"testing"

	"github.com/capmon/capmon/internal/classify"
	"github.com/capmon/capmon/monitor"
)

// noAudit is CAP_OPT_NOAUDIT of include/linux/security.h (5.1 and later): whoever asks
// does not want a refusal to be in the audit log, most often because it would mean nothing.
const noAudit = 1 << 1

// explained are the kernel functions whose checks are not what the flag suggests, and
// why: needs that are asked about silently, and checks that mean nothing but are audited.
var explained = map[string]string{}

// A flagRecord is a second opinion on the classes: what the flag suggests.
type flagRecord struct {
	hook    monitor.Hook
	monitor *monitor.Monitor
}

// recordFlags starts to record with each hook that sees the flag.
func recordFlags(t *testing.T, hooks []monitor.Hook) (records []flagRecord) {
	t.Helper()
	for _, hook := range hooks {
		if hook == monitor.Tracepoint {
			continue
		}
		m, err := monitor.Start(monitor.Options{Hook: hook})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = m.Close() })
		records = append(records, flagRecord{hook, m})
	}
	return records
}

// check compares the flag with the class that the call site led to: what the kernel asks
// silently is no plain need, and what it has audited means something.
func (f flagRecord) check(t *testing.T) {
	t.Helper()
	snapshot, err := f.monitor.Snapshot()
	if err != nil {
		t.Fatal(err)
	}
	var compared int
	for _, c := range snapshot.Containers {
		for _, check := range c.Checks {
			verdict := classify.Classify(check)
			if check.Opts < 0 || !bySite(verdict.Class) {
				continue
			}
			compared++
			silent := check.Opts&noAudit != 0
			if silent && verdict.Class != classify.Required || !silent && verdict.Class != classify.Irrelevant || isExplained(check) {
				continue
			}
			t.Errorf("%s: %s of %s is %s, but the audit flag is %v: %v", f.hook, check.Capability, check.Call.Name(), verdict, silent, check.Stack)
		}
	}
	if compared == 0 {
		t.Errorf("%s: nothing to compare", f.hook)
	}
}

// bySite tells whether such a class comes from the place that asked, and not from who
// asked or with which arguments. A soft need may be asked about either way.
func bySite(class classify.Class) bool {
	return class == classify.Required || class == classify.Irrelevant
}

func isExplained(check monitor.Check) bool {
	return slices.ContainsFunc(check.Stack, func(function string) bool { return explained[function] != "" })
}

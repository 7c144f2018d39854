package e2e

import (
	"slices"
	"testing"

	"github.com/capmon/capmon/internal/classify"
	"github.com/capmon/capmon/monitor"
)

// noAudit is CAP_OPT_NOAUDIT of include/linux/security.h (5.1 and later). Callers set it to keep a denied check out of
// the audit log, usually because the denial would mean nothing.
const noAudit = 1 << 1

// explained maps the kernel functions whose checks contradict the flag to the reason: unaudited needs, and audited
// checks without meaning.
var explained = map[string]string{}

// flagRecord is a recording that compares the classes with the audit flag, as a second opinion.
type flagRecord struct {
	hook    monitor.Hook
	monitor *monitor.Monitor
}

// recordFlags starts a recording with each hook that sees the flag.
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

// check compares the flag with the class that the call site determined: an unaudited check must not be required, an
// audited one must not be irrelevant.
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

// bySite reports whether the call site alone determines the class. Other classes depend on the task or the arguments.
// The kernel makes checks for soft needs with and without the flag.
func bySite(class classify.Class) bool {
	return class == classify.Required || class == classify.Irrelevant
}

func isExplained(check monitor.Check) bool {
	return slices.ContainsFunc(check.Stack, func(function string) bool { return explained[function] != "" })
}

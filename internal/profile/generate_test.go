package profile

import (
	"fmt"
	"math/rand"
	"reflect"
	"testing/quick"
	"time"

	"github.com/capmon/capmon/capability"
	"github.com/capmon/capmon/internal/classify"
	"github.com/capmon/capmon/monitor"
)

// generated is a profile made of few different values, so that runs and uses of several profiles coincide.
type generated struct{ Profile }

var (
	_ quick.Generator = generated{}

	// saturday is the time of all events in these tests.
	saturday = time.Date(2026, 8, 1, 12, 0, 0, 0, time.UTC)
)

func pick[T any](r *rand.Rand, of ...T) T { return of[r.Intn(len(of))] }

func moment(r *rand.Rand) time.Time { return saturday.Add(time.Duration(r.Intn(3)) * time.Minute) }

func perhaps[T any](r *rand.Rand, value T) *T {
	if r.Intn(2) == 0 {
		return nil
	}
	return &value
}

func (generated) Generate(r *rand.Rand, _ int) reflect.Value {
	p := Profile{Format: Format, Schema: Schema}
	for range r.Intn(5) {
		p.Runs = append(p.Runs, generateRun(r))
	}
	for range r.Intn(3) {
		p.Proofs = append(p.Proofs, generateProof(r))
	}
	return reflect.ValueOf(generated{p})
}

func generateRun(r *rand.Rand) Run {
	observation := fmt.Sprint("observation-", r.Intn(2))
	run := Run{
		ID:          fmt.Sprint(observation, "/", r.Intn(3)),
		Observation: Observation{ID: observation, Recorder: generateRecorder(r), Hook: monitor.Tracepoint, Start: saturday, End: moment(r)},
		Container:   Container{ID: pick(r, "aa", "bb"), Name: pick(r, "", "web"), Image: pick(r, "", "nginx", "redis")},
		Grants: Grants{
			Engine:    perhaps(r, capability.Set(r.Intn(8))),
			Kernel:    perhaps(r, capability.Set(r.Intn(8))),
			Permitted: perhaps(r, capability.Set(r.Intn(2))),
		},
		Started:    perhaps(r, moment(r)),
		Ended:      moment(r),
		Existed:    r.Intn(2) == 0,
		Running:    r.Intn(2) == 0,
		Processes:  uint32(r.Intn(3)),
		User:       uint32(r.Intn(2)),
		Checks:     uint64(r.Intn(2)),
		Lost:       uint64(r.Intn(2)),
		Incomplete: []string{},
		Uses:       []UsePattern{},
	}
	for range r.Intn(2) {
		run.Incomplete = append(run.Incomplete, fmt.Sprint(r.Intn(2), " checks were lost"))
	}
	for range r.Intn(2) {
		run.Files = append(run.Files, generateFile(r))
	}
	for range r.Intn(6) {
		run.Uses = append(run.Uses, generateUse(r))
	}
	return run
}

func generateFile(r *rand.Rand) File {
	file := File{
		Capability: pick(r, capability.Chown, capability.DACOverride),
		Granted:    r.Intn(2) == 0,
		Program:    pick(r, "sh", "nginx: worker"),
		Call:       pick(r, "", "fchownat"),
		Path:       pick(r, "", "/a", "/b"),
		OfTwo:      r.Intn(2) == 0,
		Count:      uint64(r.Intn(3)),
		Directory:  perhaps(r, FileInfo{Path: "/", Mode: "0755", Lacks: "write"}),
	}
	file.Found = perhaps(r, FileInfo{Path: file.Path, Mode: pick(r, "0600", "0644")})
	return file
}

func generateRecorder(r *rand.Rand) Recorder {
	return pick(r, Recorder{}, Recorder{Host: "web1", Engine: "docker 28.2.2", Capmon: "v0.9"}, Recorder{Host: "web1", Capmon: "v0.8"})
}

func generateProof(r *rand.Rand) Proof {
	return Proof{
		ID: fmt.Sprint("proof-", r.Intn(3)), Recorder: generateRecorder(r), Time: moment(r), Repeat: 1 + r.Intn(2), Command: []string{"docker", "run", "nginx"},
		Container: Container{ID: "aa", Name: pick(r, "", "web"), Image: "nginx"},
		Observed:  capability.Set(r.Intn(4)), Set: capability.Set(r.Intn(4)), Works: r.Intn(2) == 0, Minimal: r.Intn(2) == 0,
		Members: []Member{{Capability: capability.Chown, Verdict: pick(r, Needed, Unneeded, Unsure), Trial: r.Intn(2)}},
		Trials:  []Trial{{Number: 1, Set: capability.Set(r.Intn(4)), Outcomes: []string{"exit status 0"}, Same: r.Intn(2) == 0}},
	}
}

func generateUse(r *rand.Rand) UsePattern {
	use := UsePattern{
		Capability:  pick(r, capability.Chown, capability.NetRaw, 41, 63),
		Class:       pick(r, classify.Classes()...),
		Granted:     r.Intn(2) == 0,
		Reason:      pick(r, "", "because"),
		Unsure:      pick(r, "", "perhaps"),
		Alternative: perhaps(r, pick(r, capability.DACReadSearch, capability.BPF)),
		Program:     pick(r, "sh", "nginx: worker"),
		Call:        pick(r, "", "fchownat"),
		Site:        pick(r, "", "setattr_prepare"),
		Entry:       r.Intn(4) == 0,
		User:        uint32(r.Intn(2)),
		Count:       uint64(1 + r.Intn(3)),
		First:       moment(r),
	}
	use.Last = use.First.Add(time.Duration(r.Intn(2)) * time.Minute)
	return use
}

func ptr[T any](value T) *T { return &value }

// chown returns a need that the tests vary.
func chown(count uint64) UsePattern {
	return UsePattern{
		Capability: capability.Chown, Class: classify.Required, Granted: true, Program: "sh", Call: "fchownat",
		Site: "setattr_prepare", Count: count, First: saturday, Last: saturday,
	}
}

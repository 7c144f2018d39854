package report

import (
	"bytes"
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"regexp"
	"testing"
	"unicode"

	"github.com/google/go-cmp/cmp"
	"github.com/rogpeppe/go-internal/txtar"

	"github.com/capmon/capmon/capability"
	"github.com/capmon/capmon/internal/classify"
	"github.com/capmon/capmon/internal/profile"
)

func withProof(p profile.Profile, proofs ...profile.Proof) profile.Profile {
	return profile.Merge(p, profile.Profile{Proofs: proofs})
}

// proof returns the proof of a container that needs CHOWN, and DAC_READ_SEARCH instead of DAC_OVERRIDE.
func proof(changes ...func(*profile.Proof)) profile.Proof {
	list, narrow := capability.Of(capability.Chown, capability.DACOverride), capability.Of(capability.Chown, capability.DACReadSearch)
	p := profile.Proof{
		ID: "proof", Time: saturday, Container: run(1).Container, Command: []string{"docker", "run", "--name", "web", "nginx"}, Repeat: 2,
		Observed: list, Enough: true, Set: narrow, Works: true, Minimal: true,
		Members: []profile.Member{
			{Capability: capability.Chown, Class: "required", Verdict: profile.Needed, Trial: 3},
			{Capability: capability.DACOverride, Class: "required", Verdict: profile.Unneeded, Trial: 4},
			{Capability: capability.DACReadSearch, Verdict: profile.Needed, InsteadOf: ptr(capability.DACOverride), Trial: 5},
		},
		Trials: []profile.Trial{
			{Number: 1, Original: true, Same: true, Outcomes: twice("exit status 0"), Seconds: 1.5},
			{Number: 2, Set: list, Same: true, Outcomes: twice("exit status 0")},
			{
				Number: 3, Set: narrow.Without(capability.Chown), Without: list, With: capability.Of(capability.DACReadSearch),
				Outcomes: twice("exit status 1"), Denied: capability.Of(capability.Chown), Stderr: "chown: Operation not permitted",
				DeniedChecks: []profile.Use{
					use(capability.Kill, classify.Denied, 1),
					use(capability.Chown, classify.Denied, 1, checked("nginx", "chown", "setattr_prepare")),
				},
			},
			{Number: 4, Set: narrow, Without: capability.Of(capability.DACOverride), With: capability.Of(capability.DACReadSearch), Same: true, Outcomes: twice("exit status 0")},
			{Number: 5, Set: capability.Of(capability.Chown), Without: capability.Of(capability.DACOverride), Outcomes: []string{"did not start", "exit status 1"}},
		},
	}
	for _, change := range changes {
		change(&p)
	}
	return p
}

func twice(outcome string) []string { return []string{outcome, outcome} }

// hostileProof returns a proof in which each text contains escape sequences.
func hostileProof() profile.Proof {
	return proof(func(p *profile.Proof) {
		p.Container.Name, p.Container.Image, p.Reasons = hostile, hostile, []string{hostile}
		p.Members[0].Class, p.Members[0].Verdict = hostile, hostile
		p.Trials[2].Outcomes, p.Trials[2].Stderr = twice(hostile), hostile
		p.Trials[2].DeniedChecks[1].Program = hostile
	})
}

func proofs() map[string]profile.Proof {
	return map[string]profile.Proof{
		"minimal": proof(),
		"nothing needed": proof(func(p *profile.Proof) {
			p.Observed, p.Set, p.Members, p.SecondStart = 0, 0, nil, true
		}),
		"not what was observed": proof(func(p *profile.Proof) {
			p.Enough, p.Reasons = false, []string{"the observed list is not enough: exit status 1"}
			p.Members[0].Class = ""
		}),
		"soft": proof(func(p *profile.Proof) {
			p.Minimal, p.Reasons = false, []string{"CHOWN is kept: a denial changes the result without an error"}
			p.Members[0] = profile.Member{Capability: capability.Chown, Class: "soft", Verdict: profile.Unsure, Trial: 2}
		}),
		"not proved": proof(func(p *profile.Proof) {
			p.Enough, p.Works, p.Minimal, p.Set, p.Members = false, false, false, p.Observed, []profile.Member{
				{Capability: capability.Chown, Class: "required", Verdict: profile.Unsure},
			}
			p.Reasons = []string{"the observed list is not enough: exit status 1"}
		}),
		"hostile": hostileProof(),
	}
}

// TestProofs compares the proofs with testdata/proof/proofs.txtar. go test -update writes this file.
func TestProofs(t *testing.T) {
	got := &txtar.Archive{}
	cases := proofs()
	for _, name := range []string{"minimal", "nothing needed", "not what was observed", "soft", "not proved", "hostile"} {
		got.Files = append(got.Files, txtar.File{Name: name, Data: []byte(proofText(t, cases[name], Table))})
	}
	got.Files = append(got.Files, txtar.File{Name: "json", Data: []byte(proofText(t, cases["minimal"], JSON))})
	path := filepath.Join("testdata", "proof", "proofs.txtar")
	if *update {
		if err := os.WriteFile(path, txtar.Format(got), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(want), string(txtar.Format(got))); diff != "" {
		t.Error(diff)
	}
}

func proofText(t *testing.T, p profile.Proof, format Format) string {
	t.Helper()
	var out bytes.Buffer
	if err := WriteProof(&out, p, format); err != nil {
		t.Fatal(err)
	}
	return out.String()
}

func TestTerminalOutputEscapesAllTextsOfProofs(t *testing.T) {
	p := hostileProof()
	text := proofText(t, p, Table)
	for _, trial := range p.Trials {
		text += TrialResult(trial) + "\n"
	}
	for _, r := range text {
		if r != '\n' && !unicode.IsGraphic(r) {
			t.Errorf("%U in %q", r, text)
		}
	}
	if p.Reasons[0] != hostile || p.Trials[2].Stderr != hostile {
		t.Error("the proof itself was changed")
	}
}

func TestEveryFieldOfAProofIsDocumented(t *testing.T) {
	docs, err := os.ReadFile("../../docs/json.md")
	if err != nil {
		t.Fatal(err)
	}
	for name, p := range proofs() {
		var value any
		if err := json.Unmarshal([]byte(proofText(t, p, JSON)), &value); err != nil {
			t.Fatal(err)
		}
		for field := range fieldsOf(value) {
			if !regexp.MustCompile("`" + regexp.QuoteMeta(field) + "`").Match(docs) {
				t.Errorf("%s: docs/json.md does not describe %s", name, field)
			}
		}
	}
}

func TestDescribeTrial(t *testing.T) {
	chown, kill := capability.Of(capability.Chown), capability.Of(capability.Kill)
	for want, trial := range map[string]profile.Trial{
		"under its own flags":           {Original: true},
		"with CHOWN":                    {Set: chown},
		"without any capability":        {},
		"without KILL":                  {Set: chown, Without: kill},
		"with CHOWN instead of KILL":    {Set: chown, With: chown, Without: kill},
		"with all granted capabilities": {Set: chown.Union(kill), With: chown},
	} {
		if got := DescribeTrial(trial); got != want {
			t.Errorf("got %q, wanted %q", got, want)
		}
	}
}

func TestWriteProofReturnsErrors(t *testing.T) {
	for _, format := range []Format{Table, JSON} {
		if err := WriteProof(full{}, proof(), format); !errors.Is(err, errFull) {
			t.Errorf("%s: got %v", format, err)
		}
	}
}

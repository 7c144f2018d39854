package report

import (
	"bytes"
	"encoding/json"
	"errors"
	"os"
	"regexp"
	"testing"
	"unicode"

	"github.com/rogpeppe/go-internal/txtar"

	"github.com/capmon/capmon/capability"
	"github.com/capmon/capmon/internal/profile"
	"github.com/capmon/capmon/internal/report/reporttest"
)

// TestProofs compares the proofs with testdata/proof/proofs.txtar. go test -update writes this file.
func TestProofs(t *testing.T) {
	var got []txtar.File
	cases := reporttest.Proofs()
	for _, name := range []string{"minimal", "nothing needed", "not what was observed", "soft", "not proved", "hostile"} {
		got = append(got, txtar.File{Name: name, Data: []byte(proofText(t, cases[name], Table))})
	}
	got = append(got, txtar.File{Name: "json", Data: []byte(proofText(t, cases["minimal"], JSON))})
	golden(t, "proof", "proofs", got...)
}

func proofText(t *testing.T, p profile.Proof, format Format) string {
	t.Helper()
	var out bytes.Buffer
	var evidence profile.Evidence
	if format == JSON {
		evidence = reporttest.Evidence(profile.Profile{}).WithProof(p)
	}
	if err := WriteProof(&out, p, format, Options{Evidence: evidence}); err != nil {
		t.Fatal(err)
	}
	return out.String()
}

func TestTerminalOutputEscapesAllTextsOfProofs(t *testing.T) {
	p := reporttest.HostileProof(reporttest.Hostile)
	text := proofText(t, p, Table)
	for _, trial := range p.Trials {
		text += TrialResult(trial, false) + "\n"
	}
	for _, r := range text {
		if r != '\n' && !unicode.IsGraphic(r) {
			t.Errorf("%U in %q", r, text)
		}
	}
	if p.Reasons[0] != reporttest.Hostile || p.Trials[2].Stderr != reporttest.Hostile {
		t.Error("the proof itself was changed")
	}
}

func TestEveryFieldOfAProofIsDocumented(t *testing.T) {
	docs, err := os.ReadFile("../../docs/json.md")
	if err != nil {
		t.Fatal(err)
	}
	for name, p := range reporttest.Proofs() {
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
		if got := DescribeTrial(trial, false); got != want {
			t.Errorf("got %q, wanted %q", got, want)
		}
		if got := DescribeTrial(trial, true); got != "again, "+want {
			t.Errorf("again: got %q", got)
		}
	}
}

func TestWriteProofReturnsErrors(t *testing.T) {
	for _, format := range []Format{Table, JSON} {
		if err := WriteProof(full{}, reporttest.Proof(), format, Options{}); !errors.Is(err, errFull) {
			t.Errorf("%s: got %v", format, err)
		}
	}
}

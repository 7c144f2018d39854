package report

import (
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	"github.com/jedib0t/go-pretty/v6/table"

	"github.com/capmon/capmon/capability"
	"github.com/capmon/capmon/internal/classify"
	"github.com/capmon/capmon/internal/dockerflags"
	"github.com/capmon/capmon/internal/printable"
	"github.com/capmon/capmon/internal/profile"
	"github.com/capmon/capmon/internal/settings"
)

// jsonProof is the JSON form of a proof.
type jsonProof struct {
	// Version of this JSON format.
	Schema int `json:"schema"`
	profile.Proof
	// The options of docker run that grant the proposed set.
	Flags []string `json:"flags"`
}

// WriteProof writes a proof as a table or as JSON.
func WriteProof(out io.Writer, proof profile.Proof, format Format) error {
	if format == JSON {
		return encode(out, jsonProof{Schema: schema, Proof: proof, Flags: dockerflags.Grant(proof.Set)})
	}
	makeProofPrintable(&proof)
	page := &page{}
	page.proof(proof)
	_, err := io.WriteString(out, page.String())
	return err
}

// ProofFormats returns the formats of [WriteProof]. The first one is the default.
func ProofFormats() []Format { return []Format{Table, JSON} }

func (p *page) proof(proof profile.Proof) {
	runs := 0
	for _, trial := range proof.Trials {
		runs += len(trial.Outcomes)
	}
	count := plural(uint64(runs), "run", "runs")
	if proof.SecondStart {
		count += " with a second start"
	}
	p.line("%s  %s  %s  %s", proof.Container.Name, proof.Container.Image, count, proofResult(proof))
	if len(proof.Members) > 0 {
		t := newTable("CAPABILITY", "OBSERVED", "VERDICT", "EVIDENCE")
		t.SetColumnConfigs(nil)
		for _, member := range proof.Members {
			for i, line := range evidence(proof, member) {
				if i == 0 {
					t.AppendRow(table.Row{member.Capability.String(), observed(member), member.Verdict, line})
				} else {
					t.AppendRow(table.Row{"", "", "", line})
				}
			}
		}
		p.line("%s", t.Render())
	}
	for _, reason := range proof.Reasons {
		p.line("  note: %s", reason)
	}
	p.line("")
	if proof.Service == "" {
		p.line("  docker run %s …", dockerflags.Line(proof.Set))
		return
	}
	for _, line := range settings.ComposeLines(proof.Set) {
		p.line("  %s", line)
	}
}

// proofResult returns the result of a proof in a few words.
func proofResult(proof profile.Proof) string {
	switch {
	case !proof.Works:
		return "NOT PROVED"
	case !proof.Minimal:
		return "proved sufficient, not proved minimal"
	case !proof.Enough:
		return "proved minimal, but not equal to the observed list"
	}
	return "proved minimal"
}

func observed(m profile.Member) string {
	switch {
	case m.InsteadOf != nil:
		return "instead of " + m.InsteadOf.String()
	case m.Class == "":
		return "no"
	}
	return string(m.Class)
}

// evidence returns the results of the trial for a member, one fact on each line.
func evidence(proof profile.Proof, m profile.Member) []string {
	trial, ok := proof.TrialNumber(m.Trial)
	if !ok {
		return []string{"not tried"}
	}
	if m.Verdict == profile.Unneeded {
		return []string{fmt.Sprintf("without it: %s, as before", trial.Outcomes[0])}
	}
	lines := []string{"without it: " + strings.Join(slices.Compact(slices.Clone(trial.Outcomes)), ", then ")}
	if trial.Same {
		lines[0] += ", as before"
	}
	denied := slices.DeleteFunc(slices.Clone(trial.DeniedChecks), func(use profile.UsePattern) bool { return use.Capability != m.Capability })
	for _, use := range denied[:min(len(denied), usesShown)] {
		lines = append(lines, "denied: "+Describe(use))
	}
	if len(denied) == 0 && m.Verdict == profile.Needed {
		lines = append(lines, "no check was denied: seccomp denied a system call that needs the capability, or the kernel denied the execution of a program that needs it")
	}
	if trial.Stderr != "" {
		lines = append(lines, "wrote: "+trial.Stderr)
	}
	return lines
}

// DescribeTrial returns which capabilities a trial grants. again: an earlier trial has granted the same ones.
func DescribeTrial(trial profile.Trial, again bool) string {
	if again {
		return "again, " + DescribeTrial(trial, false)
	}
	switch {
	case trial.Original:
		return "under its own flags"
	case !trial.With.Empty() && !trial.Without.Empty():
		return fmt.Sprintf("with %s instead of %s", trial.With.Text(), trial.Without.Text())
	case !trial.With.Empty():
		return "with all granted capabilities"
	case !trial.Without.Empty():
		return "without " + trial.Without.Text()
	case trial.Set.Empty():
		return "without any capability"
	}
	return "with " + trial.Set.Text()
}

// TrialResult returns one line with the result of a finished trial. It is safe for a terminal. again is as for
// [DescribeTrial].
func TrialResult(trial profile.Trial, again bool) string {
	line := fmt.Sprintf("%2d  %s: %s", trial.Number, DescribeTrial(trial, again), strings.Join(trial.Outcomes, ", "))
	if !trial.Original && trial.Same {
		line += ", as before"
	}
	return printable.Text(line)
}

func makeProofPrintable(p *profile.Proof) {
	for _, text := range []*string{&p.Container.Name, &p.Container.Image} {
		*text = printable.Text(*text)
	}
	p.Reasons = printables(p.Reasons)
	p.Members = slices.Clone(p.Members)
	for i := range p.Members {
		m := &p.Members[i]
		m.Class, m.Verdict = classify.Class(printable.Text(string(m.Class))), profile.Verdict(printable.Text(string(m.Verdict)))
	}
	p.Trials = slices.Clone(p.Trials)
	for i := range p.Trials {
		t := &p.Trials[i]
		t.Outcomes, t.Stderr = printables(t.Outcomes), printable.Text(t.Stderr)
		t.DeniedChecks = slices.Clone(t.DeniedChecks)
		makeUsesPrintable(t.DeniedChecks)
	}
}

func printables(texts []string) []string {
	texts = slices.Clone(texts)
	for i := range texts {
		texts[i] = printable.Text(texts[i])
	}
	return texts
}

// proofSummary returns one line with the result of the proof; "" if there is no proof that covers the observed needs.
func proofSummary(s profile.Summary) string {
	if !s.Proved() {
		return ""
	}
	parts := []string{fmt.Sprintf("verified %s: %s", s.Proof.Time.Format(time.DateOnly), proofResult(*s.Proof))}
	for _, verdict := range []profile.Verdict{profile.Needed, profile.Unneeded, profile.Unsure} {
		var set capability.Set
		for _, m := range s.Proof.Members {
			if m.Verdict == verdict {
				set = set.With(m.Capability)
			}
		}
		if !set.Empty() {
			parts = append(parts, strings.TrimPrefix(string(verdict), "proved ")+": "+set.Text())
		}
	}
	return strings.Join(parts, "; ")
}

// outdated returns the reason why the proof does not cover the observed needs; "" if it does, or if there is no proof.
func outdated(s profile.Summary) string {
	if s.Proof == nil || s.Proved() {
		return ""
	}
	reason, remedy := "the list did not work in every trial", "run capmon verify again"
	switch {
	case s.Proof.Container.ImageID != s.Container.ImageID:
		reason = "the proof is for another build of the image"
	case s.Proof.Works && s.SeveralBuilds:
		reason, remedy = "the proof is for one build of the image, but capmon observed several builds", "use a profile of that build only"
	case s.Proof.Works:
		reason = "capmon observed capabilities that the proof did not try: " + s.Untried().Text()
	}
	return fmt.Sprintf("the proof of %s does not hold for this list: %s; %s", s.Proof.Time.Format(time.DateOnly), reason, remedy)
}

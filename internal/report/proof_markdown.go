package report

import (
	"fmt"
	"io"
	"strings"

	"github.com/capmon/capmon/internal/dockerflags"
	"github.com/capmon/capmon/internal/markdown"
	"github.com/capmon/capmon/internal/profile"
	"github.com/capmon/capmon/internal/settings"
)

// writeProofMarkdown writes a proof for a pull request or a job summary.
func writeProofMarkdown(out io.Writer, proof profile.Proof, options Options) error {
	makeProofPrintable(&proof)
	result, list := proofResult(proof), "List"
	if !proof.Works {
		result, list = "not proved", "List that is not proved"
	}
	var doc markdown.Document
	fmt.Fprintf(&doc.Head, "**%s**\n\n%s", strings.ToUpper(result[:1])+result[1:], markdown.Facts(options.Evidence.Lines("")))
	start := markdown.Paragraph("**%s: %s**", list, setText(proof.Set))
	end := markdown.Section("Cautions", markdown.Texts(proof.Reasons)) + proofSettings(proof) + "\n"
	var full, short []string
	for _, member := range proof.Members {
		item := fmt.Sprintf("%s: %s (observed: %s)", member.Capability, markdown.Text(string(member.Verdict)), markdown.Text(observed(member)))
		short = append(short, item)
		for _, line := range trialResults(proof, member) {
			item += "\n  - " + markdown.Text(line)
		}
		full = append(full, item)
	}
	doc.Details = []markdown.Details{{
		Summary: markdown.Summary(proof.Container.Name, proof.Container.Image, proofRuns(proof)), Open: true,
		Full:  start + markdown.Section("Evidence", full) + end,
		Short: start + markdown.Section("Verdicts", short) + end,
	}}
	return doc.Write(out, "To see everything, use `-o json`.")
}

// proofSettings returns the settings that grant the proposed set, as a code block.
func proofSettings(proof profile.Proof) string {
	caution := ""
	if !proof.Works {
		caution = "# not proved\n"
	}
	if proof.Service == "" {
		return markdown.Block("sh", caution+"docker run "+dockerflags.Line(proof.Set)+" …")
	}
	return markdown.Block("yaml", caution+strings.Join(settings.ComposeLines(proof.Set), "\n"))
}

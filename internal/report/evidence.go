package report

import (
	"time"

	"github.com/capmon/capmon/internal/profile"
)

// evidence adds the lines of the evidence, and an empty line. It adds nothing if there is no evidence.
func (p *page) evidence(evidence profile.Evidence) {
	p.paragraph(evidence.Lines(""))
}

// evidences adds the lines of the evidence of an earlier and a later profile, and an empty line.
func (p *page) evidences(before, after profile.Evidence) {
	p.paragraph(evidenceLines(before, after))
}

func evidenceLines(before, after profile.Evidence) []string {
	before.Created = time.Time{} // then its lines lack the version of capmon, which after has
	return append(before.Lines("before: "), after.Lines("after: ")...)
}

func (p *page) paragraph(lines []string) {
	for _, line := range lines {
		p.line("%s", line)
	}
	if len(lines) > 0 {
		p.line("")
	}
}

package findings

import (
	"encoding/xml"
	"io"

	"github.com/capmon/capmon/internal/printable"
)

// The elements of the JUnit XML that Jenkins, GitLab and others read (junit-10.xsd of Jenkins' xUnit plugin).
type (
	junitSuites struct {
		XMLName  xml.Name     `xml:"testsuites"`
		Name     string       `xml:"name,attr"`
		Tests    int          `xml:"tests,attr"`
		Failures int          `xml:"failures,attr"`
		Suites   []junitSuite `xml:"testsuite"`
	}
	junitSuite struct {
		Name       string          `xml:"name,attr"`
		Tests      int             `xml:"tests,attr"`
		Failures   int             `xml:"failures,attr"`
		Errors     int             `xml:"errors,attr"`
		Skipped    int             `xml:"skipped,attr"`
		Timestamp  string          `xml:"timestamp,attr"`
		Host       string          `xml:"hostname,attr,omitempty"`
		Properties []junitProperty `xml:"properties>property"`
		Cases      []junitCase     `xml:"testcase"`
	}
	junitProperty struct {
		Name  string `xml:"name,attr"`
		Value string `xml:"value,attr"`
	}
	junitCase struct {
		Name    string        `xml:"name,attr"`
		Class   string        `xml:"classname,attr"`
		Skipped *junitSkipped `xml:"skipped"`
		Failure *junitFailure `xml:"failure"`
		Out     string        `xml:"system-out,omitempty"`
	}
	junitSkipped struct {
		Message string `xml:"message,attr"`
	}
	junitFailure struct {
		Message string `xml:"message,attr"`
		Type    string `xml:"type,attr"`
		Text    string `xml:",chardata"`
	}
)

// WriteJUnit writes JUnit XML with a test suite for each rule and a test case for each finding. A failed test means
// that the command exits with code 1. Findings that a person must review, waived findings and uncounted failures are
// skipped tests.
func WriteJUnit(out io.Writer, report Report) error {
	suites := junitSuites{Name: report.Command}
	for _, rule := range report.Rules {
		suite := junitSuiteOf(rule, report.of(rule.ID), report)
		suites.Tests += suite.Tests
		suites.Failures += suite.Failures
		suites.Suites = append(suites.Suites, suite)
	}
	if _, err := io.WriteString(out, xml.Header); err != nil {
		return err
	}
	encoder := xml.NewEncoder(out)
	encoder.Indent("", "  ")
	if err := encoder.Encode(suites); err != nil {
		return err
	}
	_, err := io.WriteString(out, "\n")
	return err
}

func junitSuiteOf(rule Rule, findings []Finding, report Report) junitSuite {
	suite := junitSuite{Name: rule.ID + " " + rule.Title, Timestamp: report.Time.UTC().Format("2006-01-02T15:04:05")}
	suite.Host, _ = report.Evidence.Origin()
	for _, fact := range report.Evidence.Facts() {
		suite.Properties = append(suite.Properties, junitProperty{fact.Name, fact.Text})
	}
	for _, f := range findings {
		test := junitCase{Name: printable.Text(f.Subject), Class: rule.ID}
		text, remedy := printable.Text(f.Text), printable.Lines(f.Remedy)
		switch {
		case f.Status == Pass:
			test.Out = text
		case f.Status == Fail && !f.Uncounted:
			suite.Failures++
			test.Failure = &junitFailure{Message: text, Type: string(Fail), Text: remedy}
		default:
			switch {
			case f.Uncounted:
				text = "fails, but does not change the exit code: " + text
			case f.Status == Waived:
				text = "waived: " + text
			}
			suite.Skipped++
			test.Skipped, test.Out = &junitSkipped{text}, remedy
		}
		suite.Cases = append(suite.Cases, test)
	}
	suite.Tests = len(suite.Cases)
	return suite
}

package report

import (
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/jedib0t/go-pretty/v6/table"
	"github.com/jedib0t/go-pretty/v6/text"

	"github.com/capmon/capmon/capability"
	"github.com/capmon/capmon/internal/alternatives"
	"github.com/capmon/capmon/internal/classify"
	"github.com/capmon/capmon/internal/container"
	"github.com/capmon/capmon/internal/containerid"
	"github.com/capmon/capmon/internal/dockerflags"
	"github.com/capmon/capmon/internal/overview"
	"github.com/capmon/capmon/internal/profile"
	"github.com/capmon/capmon/internal/settings"
	"github.com/capmon/capmon/internal/shell"
)

// usesShown is the number of patterns of use that the table shows for one capability. --all and JSON show all of them.
const usesShown = 3

// filesShown is the number of files that the table shows for one capability. --all and JSON show all of them.
const filesShown = 3

func writeTable(out io.Writer, p profile.Profile, options Options) error {
	page := &page{options: options}
	page.evidence(options.Evidence)
	all := profile.Summaries(p)
	if len(all) == 0 {
		page.line("capmon saw no containers")
	}
	if len(all) > 1 {
		page.overview(overview.OfSummaries(all))
	}
	if len(all) == 1 || options.Details {
		page.containers(all)
	}
	_, err := io.WriteString(out, page.String())
	return err
}

// page collects the text of a report.
type page struct {
	strings.Builder
	options Options
}

func (p *page) line(format string, args ...any) {
	fmt.Fprintf(p, format+"\n", args...)
}

// overview adds a table with a line for each container, and how to see the details.
func (p *page) overview(all overview.Overview) {
	p.WriteString(overview.Table(all, overview.Options{Width: p.options.Width, Color: p.options.Color}))
	p.line("")
	if !p.options.Details {
		p.WriteString(overview.Advice(all, p.options.Command, "--container", p.options.Width))
	}
}

// containers adds the details of each container. It makes the summaries printable.
func (p *page) containers(all []profile.Summary) {
	for i := range all {
		makePrintable(&all[i])
	}
	for i, s := range overview.Sorted(all, overview.Of) {
		if i > 0 {
			p.line("")
		}
		p.container(s)
	}
	if !p.options.Quiet && slices.ContainsFunc(all, mayHideDenials) {
		p.line("")
		p.line("There may be more denials: Docker's seccomp profile denies some system calls before the")
		p.line("kernel checks a capability.")
	}
}

// mayHideDenials reports whether there may be more denials than those that capmon saw.
func mayHideDenials(s profile.Summary) bool { return s.Container.Kind == "" && !s.Denied().Empty() }

func (p *page) container(s profile.Summary) {
	p.line("%s", heading(s, p.options.Color))
	if s.Started {
		p.capabilities(s)
	}
	p.denied(s)
	if p.options.All {
		p.others(s)
	}
	if s.Started {
		p.line("  %s", Verdict(s))
		if text := ProofSummary(s); text != "" {
			p.line("  %s", text)
		}
		if !p.options.Quiet {
			for _, alternative := range alternatives.Of(s) {
				p.line("  %s", alternative)
			}
		}
	}
	for _, caution := range cautions(s) {
		p.line("  %s %s", p.mark("note:", text.FgYellow), caution)
	}
	if s.Started {
		p.line("")
		if s.StartSeen() {
			p.line("  %s", command(s))
		} else {
			p.line("  %s: %s", strings.ToLower(startState(s)), command(s))
		}
	}
}

func (p *page) mark(s string, color text.Color) string {
	if !p.options.Color {
		return s
	}
	return color.Sprint(s)
}

// command returns the command or the setting that runs the workload with the list.
func command(s profile.Summary) string {
	switch s.Container.Kind {
	case container.Process:
		return settings.SystemdRun(s.List()) + " " + shell.Quote(s.Container.Name) + " …"
	case container.Unit:
		return settings.InDropIn(s)
	}
	if service := s.Container.Service(); service != "" {
		return settings.ServiceUpdate(s.List(), service)
	}
	if s.Container.PodName != "" {
		return "in the manifest of the pod: " + settings.SecurityContext(s.List())
	}
	engine := settings.Docker
	if s.Container.Engine == settings.Podman { // it has the same options
		engine = settings.Podman
	}
	return engine + " run " + dockerflags.Line(s.List()) + " …"
}

// title returns the name by which people know the container.
func title(s profile.Summary) string { return s.Container.Title() }

func heading(s profile.Summary, color bool) string {
	name := title(s)
	if color {
		name = text.Bold.Sprint(name)
	}
	parts := []string{name}
	if s.Container.Image != "" {
		parts = append(parts, s.Container.Image)
	}
	switch {
	case s.Container.Kind != "":
		parts = append(parts, workloadNoun(s))
	case s.Container.Service() != "":
		parts = append(parts, "service")
	case s.Container.Name != "":
		parts = append(parts, containerid.Short(s.Container.ID))
	}
	if s.Container.Engine != "" {
		parts = append(parts, s.Container.Engine)
	}
	if s.Container.Owner != "" {
		parts = append(parts, "owner "+s.Container.Owner)
	}
	if s.Container.Sandbox {
		parts = append(parts, "sandbox of a pod")
	}
	return strings.Join(append(parts, watched(s)...), "  ")
}

// watched returns how much capmon observed of a container, and whether anything is missing.
func watched(s profile.Summary) (parts []string) {
	if s.Runs > 1 {
		parts = append(parts, fmt.Sprintf("%d runs", s.Runs))
	}
	switch {
	case !s.Started:
		parts = append(parts, "no workload seen")
	case s.Running:
		parts = append(parts, "watched "+duration(s.Observed), "still running")
	default:
		parts = append(parts, "ran "+duration(s.Observed))
	}
	parts = append(parts, plural(s.Processes, "process", "processes"), plural(s.Checks, "check", "checks"))
	if s.Lost > 0 {
		parts = append(parts, fmt.Sprintf("%d LOST", s.Lost))
	} else if len(s.Incomplete) > 0 {
		parts = append(parts, "INCOMPLETE")
	} else if s.Started && !s.StartSeen() {
		parts = append(parts, startState(s))
	} else {
		parts = append(parts, "none lost")
	}
	return parts
}

// startState returns what capmon saw of the container's start if it saw no start of a new container.
func startState(s profile.Summary) string {
	if s.Starts > 0 && !s.SeveralBuilds {
		return "ONLY RESTARTS SEEN"
	}
	return "START NOT SEEN"
}

// capabilities adds the table of needs, followed by the granted and unused capabilities, NET_RAW first.
func (p *page) capabilities(s profile.Summary) {
	granted, known := s.Grants.Set()
	t := newTable("CAPABILITY", "GRANTED", "USED", "BY")
	atStart := s.AtStart()
	for _, c := range s.Needs().Sorted() {
		p.uses(t, c, grantWord(granted.Has(c), known), s.UsesOf(c, classify.Needs()...))
		p.files(t, s, s.UsesOf(c, classify.Needs()...))
		if atStart.Has(c) {
			t.AppendRow(table.Row{"", "", "", "at the start only: dropped afterwards"})
		}
	}
	for _, c := range s.Spared().Sorted() {
		t.AppendRow(table.Row{c.String(), grantWord(granted.Has(c), known), total(s.UsesOf(c, classify.Needs()...)), "used, but not needed: other capabilities on the list are sufficient"})
	}
	unused, _ := s.Unused()
	for _, c := range overview.Gravest(unused) {
		t.AppendRow(table.Row{c.String(), "yes", "-", "unused"})
	}
	if t.Length() == 0 {
		p.line("  no capability was granted, and none was used")
		return
	}
	p.line("%s", t.Render())
}

func (p *page) denied(s profile.Summary) {
	if s.Denied().Empty() {
		return
	}
	t := newTable("TRIED AND DENIED", "", "TIMES", "BY")
	for _, c := range s.Denied().Sorted() {
		p.uses(t, c, "", s.UsesOf(c, classify.Denied))
		p.files(t, s, s.UsesOf(c, classify.Denied))
	}
	p.line("%s", t.Render())
}

// others adds the table of the classes that are neither needs nor denied.
func (p *page) others(s profile.Summary) {
	t := newTable("NOT COUNTED AS USE", "CLASS", "TIMES", "BY")
	for _, class := range classify.Classes() {
		if class.Need() || class == classify.Denied {
			continue
		}
		for _, c := range s.Having(class).Sorted() {
			p.uses(t, c, string(class), s.UsesOf(c, class))
		}
	}
	if t.Length() > 0 {
		p.line("%s", t.Render())
	}
}

// uses adds the rows of a capability, one for each pattern of use. The first row has the total.
func (p *page) uses(t table.Writer, c capability.Capability, word string, uses []profile.UsePattern) {
	for i, use := range uses {
		if i == usesShown && !p.options.All && len(uses) > usesShown+1 {
			t.AppendRow(table.Row{"", "", "", fmt.Sprintf("and %d other patterns of use (--all shows them)", len(uses)-i)})
			return
		}
		if i == 0 {
			t.AppendRow(table.Row{c.String(), word, total(uses), Describe(use)})
		} else {
			t.AppendRow(table.Row{"", "", "", Describe(use)})
		}
	}
}

// files adds a row for each file of the uses.
func (p *page) files(t table.Writer, s profile.Summary, uses []profile.UsePattern) {
	files, others := s.FilesOf(uses)
	lines := fileLines(files)
	shown := lines
	if len(lines) > filesShown+1 && !p.options.All {
		shown = lines[:filesShown]
	}
	for _, line := range shown {
		t.AppendRow(table.Row{"", "", "", line})
	}
	switch left := len(lines) - len(shown); {
	case left > 0 && others:
		t.AppendRow(table.Row{"", "", "", fmt.Sprintf("and %d more files (--all shows them), and possibly others", left)})
	case left > 0:
		t.AppendRow(table.Row{"", "", "", fmt.Sprintf("and %d more files (--all shows them)", left)})
	case len(lines) > 0 && others:
		t.AppendRow(table.Row{"", "", "", "and possibly other files"})
	}
}

// fileLines returns one line for each file, without repeated lines.
func fileLines(files []profile.File) []string {
	var lines []string
	for _, file := range files {
		if line := "on " + file.String(); !slices.Contains(lines, line) {
			lines = append(lines, line)
		}
	}
	return lines
}

func total(uses []profile.UsePattern) (sum uint64) {
	for _, use := range uses {
		sum += use.Count
	}
	return sum
}

// Describe returns the program, the system call and the call site of a use, with its reason or why it is unsure.
func Describe(use profile.UsePattern) string {
	s := Program(use)
	if use.Call != "" {
		s += "  " + use.Call
	}
	if use.Site != "" {
		s += " in " + use.Site
	}
	if use.Class == classify.Denied && use.Granted {
		s += ", granted" // a contradiction that the reader should see
	}
	if text := remark(use); text != "" {
		s += " " + text
	}
	return s
}

// remark returns why a use is a need, or why it is unsure, in parentheses; "" if there is nothing to say.
func remark(use profile.UsePattern) string {
	switch {
	case use.Class == classify.Soft, use.Class == classify.Implicit && use.Unsure == "":
		return fmt.Sprintf("(%s: %s)", use.Class, use.Reason)
	case use.Unsure != "":
		return "(unsure: " + use.Unsure + ")"
	case use.Reason != "":
		return "(" + use.Reason + ")"
	}
	return ""
}

// others is the program of uses whose process names capmon did not record.
const others = "others"

// Program returns the name of the process that made a use. The name is not safe for a terminal.
func Program(use profile.UsePattern) string {
	if use.Entry { // the process still has the name of the runtime at that time
		return "entrypoint"
	}
	if use.Others {
		return others
	}
	return use.Program
}

// Verdict returns how many granted capabilities the workload never used: for a container, for CIS 5.4.
func Verdict(s profile.Summary) string {
	rule := "CIS 5.4: "
	if s.Container.Kind != "" {
		rule = ""
	}
	unused, known := s.Unused()
	if !known {
		return rule + "the grants are not known"
	}
	granted, _ := s.Grants.Set()
	where := ""
	if len(s.Incomplete) > 0 {
		where = " in the recorded part"
	}
	if row := overview.Of(s); !row.Certain() {
		return rule + fmt.Sprintf("capmon did not see the use of %d of %d granted capabilities%s", unused.Len(), granted.Len(), where)
	}
	return rule + fmt.Sprintf("%d of %d granted capabilities were never used%s", unused.Len(), granted.Len(), where)
}

func newTable(columns ...any) table.Writer {
	t := table.NewWriter()
	style := table.StyleDefault
	style.Options = table.OptionsNoBordersAndSeparators
	style.Box.PaddingLeft, style.Box.PaddingRight = "  ", ""
	style.Format.Header = text.FormatDefault
	t.SetStyle(style)
	t.SuppressTrailingSpaces()
	t.AppendHeader(table.Row(columns))
	t.SetColumnConfigs([]table.ColumnConfig{{Number: 3, Align: text.AlignRight, AlignHeader: text.AlignRight}})
	return t
}

func grantWord(granted, known bool) string {
	switch {
	case !known:
		return "?"
	case granted:
		return "yes"
	}
	return "no"
}

func plural(n uint64, one, many string) string {
	if n == 1 {
		return "1 " + one
	}
	return strconv.FormatUint(n, 10) + " " + many
}

func duration(d time.Duration) string {
	if d < time.Millisecond {
		return "less than 1 ms"
	}
	if d < time.Second {
		return fmt.Sprintf("%d ms", d.Milliseconds())
	}
	if d < time.Minute {
		return fmt.Sprintf("%.1f s", d.Seconds())
	}
	return d.Round(time.Second).String()
}

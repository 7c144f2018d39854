package page

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	"github.com/capmon/capmon/capability"
	"github.com/capmon/capmon/internal/kubernetes"
	"github.com/capmon/capmon/internal/overview"
	"github.com/capmon/capmon/internal/profile"
	"github.com/capmon/capmon/internal/settings"
)

// subject is a container for the matrix. Its texts may contain any bytes.
type subject struct {
	identity profile.Container
	// hosts are the hosts that the recordings of the container are from.
	hosts []string
	row   overview.Row
	// states has the key of the state of each capability that the container has, used or tried to use.
	states  map[capability.Capability]byte
	details []Block
}

// statuses are all statuses of reports and audits, the gravest first.
var statuses = []Status{
	{string(overview.Fail), "the container violates CIS 5.4"},
	{string(overview.Unused), "the container has capabilities that it did not use"},
	{string(overview.Manual), "capmon cannot decide: a person has to"},
	{string(overview.Unsure), "the observation is not sufficient to say what the container does not use"},
	{string(overview.Waived), "an operator accepted what would fail"},
	{string(overview.Fits), "the container used every capability that it has"},
	{string(overview.Pass), "the container complies with CIS 5.4"},
	{string(overview.Proved), "capmon verify proved that the container needs every capability that it has"},
}

// Status is the status of a container.
type Status struct {
	Name    string `json:"name"`
	Meaning string `json:"meaning"`
}

// fields are the columns of reports and audits before the capabilities.
var fields = []Field{{"Image", false}, {"Granted", true}, {"Used", true}, {"Unused", true}, {"Observed", true}}

// matrix fills in the columns, rows and totals of a page. The subjects are the containers of the overview.
func (p *Page) matrix(all overview.Overview, subjects []subject) {
	p.Fields = fields
	columns := p.columns(subjects)
	p.Containers = []Container{}
	p.Statuses = slices.DeleteFunc(slices.Clone(statuses), func(s Status) bool { return all.Totals.Status[overview.Status(s.Name)] == 0 })
	for i, key := range keys(labels(subjects)) {
		s := subjects[i]
		c := Container{Row: p.row(key, s.row), Search: search(s.identity) + " " + name(s.host()), Details: s.details}
		c.Cells, c.own = cells(s.states, columns), true
		p.Containers = append(p.Containers, c)
	}
	p.States = occurring(p.Containers)
	p.views(all, subjects)
	p.Figures = figures(all.Totals)
	p.advise(all.Rows)
}

// labels returns a name for each subject that distinguishes it from the others.
func labels(subjects []subject) []string {
	var summaries []profile.Summary
	for _, s := range subjects {
		summaries = append(summaries, profile.Summary{Container: s.identity})
	}
	var all []string
	for _, c := range settings.Labeled(summaries) {
		all = append(all, c.Label)
	}
	return all
}

// columns sets the capabilities of the matrix, and returns them.
func (p *Page) columns(subjects []subject) []capability.Capability {
	var set capability.Set
	for _, s := range subjects {
		for c := range s.states {
			set = set.With(c)
		}
	}
	columns := overview.Gravest(set)
	p.Capabilities = []string{}
	for _, c := range columns {
		p.Capabilities = append(p.Capabilities, c.String())
	}
	p.Risky = set.Intersect(capability.RiskyOrNetRaw()).Len()
	return columns
}

func cells(states map[capability.Capability]byte, columns []capability.Capability) string {
	text := make([]byte, 0, len(columns))
	for _, c := range columns {
		text = append(text, cmp.Or(states[c], none))
	}
	return string(text)
}

// search returns the texts by which the filter finds a container in addition to the texts in the matrix.
func search(c profile.Container) string {
	text := name(c.Name) + " " + name(c.ID) + " " + name(c.ImageDigest)
	for _, of := range []func(profile.Container) string{serviceOf, namespaceOf} {
		text += " " + name(of(c))
	}
	return text
}

func (p *Page) row(key string, r overview.Row) Row {
	return Row{
		Key: key, Title: name(r.Title), Members: r.Positions,
		Status: slices.IndexFunc(p.Statuses, func(s Status) bool { return s.Name == string(r.Status) }),
		Values: []Value{
			{Text: name(r.Image)}, granted(r), usedValue(r), unusedValue(r),
			{Text: r.ObservedText(), Number: r.Observed.Seconds()},
		},
	}
}

func granted(r overview.Row) Value {
	v := Value{Text: r.GrantedText()}
	if r.Granted != nil {
		v.Number = float64(r.Granted.Len())
	}
	return v
}

func usedValue(r overview.Row) Value {
	v := Value{Text: r.UsedText()}
	if r.Runs > 0 {
		v.Number = float64(r.Used.Len())
	}
	return v
}

func unusedValue(r overview.Row) Value {
	if r.Runs == 0 || r.Granted == nil {
		return Value{Text: "-"}
	}
	return Value{r.UnusedNumber(), float64(r.Unused.Len())}
}

func number(n int) Value { return Value{fmt.Sprint(n), float64(n)} }

// views sets the views of the page: the rows of the overview, and other ways to group the containers.
func (p *Page) views(all overview.Overview, subjects []subject) {
	alone := overview.By(all.Containers, func(int) string { return "" })
	if len(all.Rows) < len(all.Containers) {
		p.Views = append(p.Views, p.view("replicas", "container, with replicas joined", all.Rows))
	}
	p.Views = append(p.Views, p.view("container", "container", alone))
	for _, v := range []struct {
		name string
		of   func(subject) string
	}{
		{"image", func(s subject) string { return s.identity.Image }},
		{"service", func(s subject) string { return serviceOf(s.identity) }},
		{"namespace", func(s subject) string { return namespaceOf(s.identity) }},
		{"host", subject.host},
	} {
		keyOf := func(i int) string { return v.of(subjects[i]) }
		groups := make(map[string]bool)
		for i := range subjects {
			groups[keyOf(i)] = true
		}
		if len(groups) > 1 { // one group would only repeat the totals
			p.Views = append(p.Views, p.view(v.name, v.name, overview.By(all.Containers, keyOf)))
		}
	}
}

// host returns the names of the hosts that the recordings of the container are from.
func (s subject) host() string { return strings.Join(s.hosts, ", ") }

func (p *Page) view(name, label string, rows []overview.Row) View {
	v := View{Name: name, Label: label, Rows: []Row{}}
	var titles []string
	for _, r := range rows {
		titles = append(titles, r.Title)
	}
	for i, key := range keys(titles) {
		r := rows[i]
		if len(r.Positions) == 1 && r.Title == r.Members[0] {
			v.Rows = append(v.Rows, p.Containers[r.Positions[0]].Row)
			continue
		}
		row := p.row(key, r)
		switch n := len(r.Positions); {
		case v.Name == "replicas":
			row.Title += fmt.Sprintf(" (+%d)", n-1)
		case n > 1:
			row.Title += fmt.Sprintf(" (%d)", n)
		}
		row.Cells = joinCells(p.Containers, r.Positions)
		v.Rows = append(v.Rows, row)
	}
	return v
}

// serviceOf returns the service of a container: of a swarm, of Compose, or the container's name in Kubernetes; "" if
// there is none. Anyone can give a container the labels of Compose and Kubernetes.
func serviceOf(c profile.Container) string {
	project, service := c.ComposeService()
	if service != "" && project != "" {
		service = project + "/" + service
	}
	return cmp.Or(c.Service(), service, c.Labels[kubernetes.ContainerLabel])
}

// namespaceOf returns the namespace of Kubernetes, the stack of a swarm or the project of Compose that a container
// belongs to.
func namespaceOf(c profile.Container) string {
	project, _ := c.ComposeService()
	return cmp.Or(c.Namespace, c.Labels[kubernetes.NamespaceLabel], c.Labels["com.docker.stack.namespace"], project)
}

// figures returns the totals. Numbers that would be 0 and good news are left out.
func figures(t overview.Totals) []Figure {
	var words []string
	for _, s := range statuses {
		if n := t.Status[overview.Status(s.Name)]; n > 0 {
			words = append(words, fmt.Sprintf("%d %s", n, s.Name))
		}
	}
	label := plural(t.Containers, "container", "containers")
	if len(words) > 0 {
		label += ": " + strings.Join(words, ", ")
	}
	all := []Figure{{fmt.Sprint(t.Containers), label}, {fmt.Sprint(t.Granted), "capabilities granted"}, {fmt.Sprint(t.Unused), "of them unused"}}
	add := func(n int, label string) {
		if n > 0 {
			all = append(all, Figure{fmt.Sprint(n), label})
		}
	}
	add(t.Unseen, "perhaps unused")
	add(t.Privileged, "privileged")
	add(t.NetRawUnused, "with unused NET_RAW")
	return all
}

func plural(n int, one, many string) string {
	if n == 1 {
		return one
	}
	return many
}

// advise sets the advice: why the first rows need attention, if they do.
func (p *Page) advise(rows []overview.Row) {
	p.AdviceTitle, p.Advice = "Fix first", []Advice{}
	p.AdviceHint = "A link opens the container: why, with the evidence, and the settings and commands that fix it."
	for i, r := range overview.FixFirst(rows) {
		p.Advice = append(p.Advice, Advice{Row: i, Text: r.Why()})
	}
}

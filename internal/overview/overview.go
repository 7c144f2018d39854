// Package overview reduces what capmon knows about containers to one row for each container, the gravest first.
package overview

import (
	"cmp"
	"fmt"
	"slices"
	"time"

	"github.com/maruel/natural"

	"github.com/capmon/capmon/capability"
)

// Status is the word in the first column of an overview.
type Status string

// Statuses of an audit (CIS Docker Benchmark 5.4). Manual: capmon cannot decide. Waived: an operator accepted what
// would fail.
const (
	Fail   Status = "fail"
	Manual Status = "manual"
	Waived Status = "waived"
	Pass   Status = "pass"
)

// Statuses of a report.
//
//   - Unused: the container has capabilities that it did not use.
//   - Unsure: the observation is not sufficient to say what the container does not use.
//   - Fits: the container used everything that it has.
//   - Proved: verify proved that the container needs everything that it has.
const (
	Unused Status = "unused"
	Unsure Status = "unsure"
	Fits   Status = "fits"
	Proved Status = "proved"
)

// order has every status, the gravest first.
var order = map[Status]int{Fail: 0, Unused: 0, Manual: 1, Unsure: 1, Waived: 2, Fits: 3, Pass: 3, Proved: 3}

// Row is one line of an overview: a container, all tasks of a swarm service, or several containers that [New] joined.
type Row struct {
	Status Status
	// Title is the name by which a reader knows the container. Members has the titles of all containers of the row.
	// Every text may contain any bytes.
	Title   string
	Members []string
	// Selector is the name, ID or pattern with which the options of capmon select the container.
	Selector string
	Image    string
	// Replica is the key of the row's replicas: only rows with the same key may be joined. It is empty if the container
	// has no replicas.
	Replica string

	// Granted is nil if the grants are not known.
	Granted    *capability.Set
	Privileged bool
	// Used has the capabilities that the container needs, as far as capmon knows. Unused has the granted capabilities
	// that it did not use or, with a proof, does not need. Denied has those that it tried to use.
	Used, Unused, Denied capability.Set
	// Unsure are members of Used that the container may not need.
	Unsure capability.Set
	// Doubtful are members of Unused that the container may need although capmon did not see their use.
	Doubtful capability.Set

	// Observed is how long capmon saw the workload run, in Runs runs. Runs is 0 if capmon never observed the workload.
	// For several containers, both are about the container that capmon observed for the shortest time.
	Observed time.Duration
	Runs     int

	// Positions are the positions of the row's containers in [Overview.Containers].
	Positions []int
}

// Certain reports whether Unused is certain. Otherwise capmon only did not see the uses.
func (r Row) Certain() bool { return r.Doubtful.Empty() && r.Status != Unsure && r.Status != Manual }

// CertainlyUnused returns the members of Unused for which the observation is sufficient.
func (r Row) CertainlyUnused() capability.Set {
	if r.Status == Unsure || r.Status == Manual {
		return 0
	}
	return r.Unused.Minus(r.Doubtful)
}

// Grave reports whether an operator has to do something about the container.
func (r Row) Grave() bool { return slices.Contains([]Status{Fail, Manual, Unused, Unsure}, r.Status) }

// Why returns a clause that says what is grave about a row.
func (r Row) Why() string {
	switch {
	case r.Granted == nil:
		return "its grants are not known"
	case r.Privileged && r.Runs == 0:
		return fmt.Sprintf("it is privileged: it has all %d capabilities", r.Granted.Len())
	case r.Privileged:
		return fmt.Sprintf("it is privileged: it has all %d capabilities, and capmon saw %d in use", r.Granted.Len(), r.Used.Len())
	case r.Runs == 0:
		return "capmon has never observed its workload"
	case !r.Certain() && r.Unused.Empty():
		return "the observation is not sufficient"
	case !r.Certain():
		return fmt.Sprintf("capmon did not see %d of its %d capabilities in use%s, but the observation is not sufficient", r.Unused.Len(), r.Granted.Len(), r.gravestText())
	}
	return fmt.Sprintf("it does not use %d of its %d capabilities%s", r.Unused.Len(), r.Granted.Len(), r.gravestText())
}

// gravestText returns a clause with the gravest unused capability; "" if none is risky or NET_RAW.
func (r Row) gravestText() string {
	if gravest := Gravest(r.Unused.Intersect(capability.RiskyOrNetRaw())); len(gravest) > 0 {
		return ", " + gravest[0].String() + " among them"
	}
	return ""
}

// Order compares two rows for a sorted list: first the gravest row, then by title, so that web-2 comes before web-10.
func Order(one, other Row) int {
	return cmp.Or(
		-compareBool(one.Privileged && one.Grave(), other.Privileged && other.Grave()),
		cmp.Compare(order[one.Status], order[other.Status]),
		compareRisky(one.Unused, other.Unused), // even if it is not certain
		compareUnused(one.CertainlyUnused(), other.CertainlyUnused()),
		compareUnused(one.Unused, other.Unused),
		CompareNames(one.Title, other.Title),
		cmp.Compare(one.Image, other.Image),
	)
}

// Sorted returns elements in the order of their rows, the gravest first. It makes each row once.
func Sorted[E any](elements []E, row func(E) Row) []E {
	type pair struct {
		element E
		row     Row
	}
	pairs := make([]pair, len(elements))
	for i, element := range elements {
		pairs[i] = pair{element, row(element)}
	}
	slices.SortStableFunc(pairs, func(one, other pair) int { return Order(one.row, other.row) })
	sorted := make([]E, len(pairs))
	for i, pair := range pairs {
		sorted[i] = pair.element
	}
	return sorted
}

// compareUnused compares two sets of unused capabilities: first the one that is worse to have.
func compareUnused(one, other capability.Set) int {
	return cmp.Or(
		compareRisky(one, other),
		-compareBool(one.Has(capability.NetRaw), other.Has(capability.NetRaw)),
		cmp.Compare(other.Len(), one.Len()),
	)
}

// compareRisky compares the risky members of two sets: first the set that is worse to have.
func compareRisky(one, other capability.Set) int {
	return cmp.Or(
		cmp.Compare(other.Intersect(capability.Risky()).Len(), one.Intersect(capability.Risky()).Len()),
		cmp.Compare(riskiest(one), riskiest(other)),
	)
}

// riskiest returns the position of the first member of a set in [capability.RiskyOrder].
func riskiest(set capability.Set) int {
	risky := capability.RiskyOrder()
	if i := slices.IndexFunc(risky, set.Has); i >= 0 {
		return i
	}
	return len(risky)
}

func compareBool(one, other bool) int {
	switch {
	case one == other:
		return 0
	case one:
		return 1
	}
	return -1
}

// CompareNames compares two names in natural order: web-2 comes before web-10.
func CompareNames(one, other string) int {
	return cmp.Or(natural.Compare(one, other), cmp.Compare(one, other))
}

// group joins replicas that an operator fixes together, and sorts the rows. It joins rows with the same replica key,
// status and grants. At least one capability must be unused in all of them, or nothing may be unused in any. Used is
// then what any replica uses, and Unused is what no replica uses.
func group(rows []Row) []Row {
	var groups []Row
	for _, row := range rows {
		at := slices.IndexFunc(groups, func(g Row) bool { return joins(g, row) })
		if at < 0 {
			groups = append(groups, row)
			continue
		}
		groups[at] = join(groups[at], row)
	}
	slices.SortStableFunc(groups, Order)
	return groups
}

func joins(group, row Row) bool {
	switch {
	case row.Replica == "" || row.Replica != group.Replica || row.Status != group.Status || row.Image != group.Image:
		return false
	case row.Privileged != group.Privileged || row.Doubtful != group.Doubtful || (row.Granted == nil) != (group.Granted == nil):
		return false
	case row.Granted != nil && *row.Granted != *group.Granted:
		return false
	case row.Unused.Empty() || group.Unused.Empty():
		return row.Unused == group.Unused
	}
	return !row.Unused.Intersect(group.Unused).Empty()
}

func join(group, row Row) Row {
	group.Members = append(group.Members, row.Title)
	group.Positions = append(group.Positions, row.Positions...)
	slices.SortStableFunc(group.Members, CompareNames)
	if CompareNames(row.Title, group.Title) < 0 {
		group.Title, group.Selector = row.Title, row.Selector
	}
	group.Used, group.Denied = group.Used.Union(row.Used), group.Denied.Union(row.Denied)
	group.Unused = group.Unused.Intersect(row.Unused)
	group.Doubtful = group.Doubtful.Union(row.Doubtful).Intersect(group.Unused)
	group.Observed, group.Runs = shortest(group, row)
	return group
}

// shortest returns the shorter observation of two rows.
func shortest(one, other Row) (observed time.Duration, runs int) {
	if other.Runs == 0 || one.Runs > 0 && other.Observed < one.Observed {
		return other.Observed, other.Runs
	}
	return one.Observed, one.Runs
}

// Totals adds up rows. Observed is the number of containers whose workload capmon observed.
type Totals struct {
	Containers int            `json:"containers"`
	Observed   int            `json:"observed"`
	Status     map[Status]int `json:"status"`
	Privileged int            `json:"privileged"`
	// Granted and Used are sums over the containers. Unused counts what is certainly unused. Unseen counts what may be
	// in use although capmon did not see it. NetRawUnused is the number of containers that certainly do not use their
	// NET_RAW.
	Granted      int `json:"granted"`
	Used         int `json:"used"`
	Unused       int `json:"unused"`
	Unseen       int `json:"unseen"`
	NetRawUnused int `json:"netRawUnused"`
}

// Overview is a table of containers.
type Overview struct {
	Rows   []Row
	Totals Totals
	// Containers has a row for each container, in the order of the containers of the profile or audit.
	Containers []Row
}

// New returns the overview of containers: rows has one row for each.
func New(rows []Row) Overview {
	rows = slices.Clone(rows)
	for i := range rows {
		rows[i].Members, rows[i].Positions = []string{rows[i].Title}, []int{i}
	}
	return Overview{Rows: group(rows), Totals: sum(rows), Containers: rows}
}

func sum(rows []Row) Totals {
	t := Totals{Containers: len(rows), Status: make(map[Status]int)}
	for _, row := range rows {
		t.Status[row.Status]++
		if row.Privileged {
			t.Privileged++
		}
		if row.Runs > 0 {
			t.Observed++
		}
		if row.Granted != nil {
			t.Granted += row.Granted.Len()
			t.Used += row.Granted.Intersect(row.Used).Len()
		}
		unused := row.CertainlyUnused()
		t.Unused += unused.Len()
		t.Unseen += row.Unused.Minus(unused).Len()
		if unused.Has(capability.NetRaw) {
			t.NetRawUnused++
		}
	}
	return t
}

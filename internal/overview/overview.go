// Package overview reduces what capmon knows about containers to one row for each container, the gravest first.
package overview

import (
	"cmp"
	"slices"
	"time"

	"github.com/maruel/natural"

	"github.com/capmon/capmon/capability"
)

// Status is the word in the first column of an overview.
type Status string

// Status of a container in an audit (CIS Docker Benchmark 5.4).
const (
	Fail   Status = "fail"
	Manual Status = "manual" // capmon cannot decide
	Waived Status = "waived" // an operator accepted what would fail
	Pass   Status = "pass"
)

// Status of a container in a report.
const (
	Unused Status = "unused" // it has capabilities that it did not use
	Unsure Status = "unsure" // the observation is not sufficient to say what the container does not use
	Fits   Status = "fits"   // it used everything that it has
	Proved Status = "proved" // capmon verify proved that it needs everything that it has
)

// order has every status, the gravest first. In a report, Unused and Unsure are equally grave: what a container is
// granted decides.
var order = map[Status]int{Fail: 0, Unused: 0, Unsure: 0, Manual: 1, Waived: 2, Fits: 3, Pass: 3, Proved: 3}

// Row is one line of an overview: a container, all tasks of a swarm service, or several containers that [New] joined.
type Row struct {
	Status Status
	// Title is the name by which a reader knows the container. Members has the titles of all containers of the row.
	// The titles and Image may contain any bytes.
	Title   string
	Members []string
	Image   string
	// Replica is the key of the row's replicas: only rows with the same key may be joined. It is empty if the container
	// has no replicas.
	Replica string

	// Granted is nil if the grants are not known.
	Granted    *capability.Set
	Privileged bool
	// Used has the capabilities that the container needs as far as capmon knows. Unused has the granted ones that it did
	// not use or, with a proof, does not need. Denied has those that it tried to use.
	Used, Unused, Denied capability.Set

	// Observed is how long capmon saw the workload run, in Runs runs. Runs is 0 if capmon never observed the container.
	Observed time.Duration
	Runs     int
}

// Certain reports whether Unused is certain. Otherwise capmon only did not see the uses.
func (r Row) Certain() bool { return r.Status != Unsure && r.Status != Manual }

// Order compares two rows for a sorted list: first the gravest row, then by title, so that web-2 comes before web-10.
func Order(one, other Row) int {
	return cmp.Or(
		cmp.Compare(order[one.Status], order[other.Status]),
		-compareBool(one.Privileged, other.Privileged),
		cmp.Compare(other.Unused.Intersect(capability.Risky()).Len(), one.Unused.Intersect(capability.Risky()).Len()),
		-compareBool(one.Unused.Has(capability.NetRaw), other.Unused.Has(capability.NetRaw)),
		cmp.Compare(other.Unused.Len(), one.Unused.Len()),
		CompareNames(one.Title, other.Title),
		cmp.Compare(one.Image, other.Image),
	)
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
	switch {
	case natural.Less(one, other):
		return -1
	case natural.Less(other, one):
		return 1
	}
	return cmp.Compare(one, other)
}

// group joins replicas that an operator fixes together, and sorts the rows. It joins rows with the same replica key if
// they have the same status and grants, and if at least one capability is unused in all of them or nothing is unused in
// any. Used is then what any replica uses, and Unused is what no replica uses.
func group(rows []Row) []Row {
	var groups []Row
	for _, row := range rows {
		at := slices.IndexFunc(groups, func(g Row) bool { return joins(g, row) })
		if at < 0 {
			row.Members = []string{row.Title}
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
	case row.Privileged != group.Privileged || (row.Granted == nil) != (group.Granted == nil):
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
	slices.SortStableFunc(group.Members, CompareNames)
	group.Title = group.Members[0]
	group.Used, group.Denied = group.Used.Union(row.Used), group.Denied.Union(row.Denied)
	group.Unused = group.Unused.Intersect(row.Unused)
	group.Observed, group.Runs = group.Observed+row.Observed, group.Runs+row.Runs
	return group
}

// Totals adds up rows.
type Totals struct {
	Containers int            `json:"containers"`
	Status     map[Status]int `json:"status"`
	Privileged int            `json:"privileged"`
	// Granted and Used are sums over the containers. Unused is the sum of the capabilities that are certainly unused,
	// Unseen of those that may be used although capmon did not see it. NetRawUnused is the number of containers that
	// certainly do not use their NET_RAW.
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
}

// New returns the overview of containers: rows has one row for each.
func New(rows []Row) Overview { return Overview{Rows: group(rows), Totals: sum(rows)} }

func sum(rows []Row) Totals {
	t := Totals{Containers: len(rows), Status: make(map[Status]int)}
	for _, row := range rows {
		t.Status[row.Status]++
		if row.Privileged {
			t.Privileged++
		}
		if row.Granted != nil {
			t.Granted += row.Granted.Len()
			t.Used += row.Granted.Intersect(row.Used).Len()
		}
		if !row.Certain() {
			t.Unseen += row.Unused.Len()
			continue
		}
		t.Unused += row.Unused.Len()
		if row.Unused.Has(capability.NetRaw) {
			t.NetRawUnused++
		}
	}
	return t
}

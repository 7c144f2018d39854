package overview

import (
	"slices"

	"github.com/capmon/capmon/capability"
)

// By joins the rows of all containers with the same key, such as their image, and sorts the result. The key is the
// title of the joined row. A container without a key stays alone.
//
// A joined row has the gravest status of its containers. Unused is what some of them have and none of them uses.
func By(containers []Row, key func(position int) string) []Row {
	at := make(map[string]int)
	var rows []Row
	for i, container := range containers {
		name := key(i)
		if name == "" {
			rows = append(rows, container)
			continue
		}
		container.Title, container.Replica = name, ""
		if n, known := at[name]; known {
			rows[n] = rows[n].union(container)
			continue
		}
		at[name] = len(rows)
		rows = append(rows, container)
	}
	slices.SortStableFunc(rows, Order)
	return rows
}

func (r Row) union(other Row) Row {
	if order[other.Status] < order[r.Status] {
		r.Status = other.Status
	}
	if r.Image != other.Image {
		r.Image = ""
	}
	r.Members, r.Positions = append(r.Members, other.Members...), append(r.Positions, other.Positions...)
	r.Granted, r.Privileged = unionOf(r.Granted, other.Granted), r.Privileged || other.Privileged
	r.Used, r.Denied = r.Used.Union(other.Used), r.Denied.Union(other.Denied)
	r.Unused = r.Unused.Union(other.Unused).Minus(r.Used)
	r.Doubtful = r.Doubtful.Union(other.Doubtful).Intersect(r.Unused)
	r.Observed, r.Runs = shortest(r, other)
	return r
}

// unionOf returns nil if one of the sets is not known.
func unionOf(one, other *capability.Set) *capability.Set {
	if one == nil || other == nil {
		return nil
	}
	return new(one.Union(*other))
}

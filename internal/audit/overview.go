package audit

import (
	"time"

	"github.com/capmon/capmon/internal/overview"
)

// Overview returns the overview of the audited containers.
func (a Audit) Overview() overview.Overview {
	rows := make([]overview.Row, 0, len(a.Containers))
	for _, c := range a.Containers {
		rows = append(rows, c.row())
	}
	return overview.New(rows)
}

func (c *ContainerResult) row() overview.Row {
	row := overview.Row{
		Status: overview.Status(c.Status), Title: c.Name, Selector: c.Name, Image: c.Image, Granted: c.Grants.Set, Privileged: c.Grants.Privileged,
	}
	if o := c.Observation; o != nil && o.Runs > 0 {
		row.Used, row.Unused, row.Doubtful = o.Used, o.Unused, o.Unused.Minus(o.Certain)
		if !o.Proved {
			row.Unsure = c.unsure()
		}
		row.Observed, row.Runs = time.Duration(o.Seconds*float64(time.Second)), o.Runs
	}
	row.Replica = overview.Replica(c.Identity(), row)
	return row
}

package overview

import (
	"slices"
	"testing"

	"github.com/capmon/capmon/capability"
)

func TestByJoinsContainersWithTheSameKey(t *testing.T) {
	standard := capability.DockerDefault()
	needs := capability.Of(capability.Chown)
	sure := row(Unused, "sure", "web:1", standard, needs)
	unseen := row(Manual, "unseen", "web:2", standard.With(capability.NetAdmin), capability.Of(capability.Kill))
	unseen.Doubtful, unseen.Privileged = unseen.Unused, true
	unknown := row(Manual, "unknown", "db", standard, 0)
	unknown.Granted, unknown.Unused, unknown.Runs = nil, 0, 0
	alone := row(Fits, "alone", "api", needs, needs)
	o := New([]Row{unseen, alone, sure, unknown})

	keys := []string{"web", "", "web", ""}
	rows := By(o.Containers, func(i int) string { return keys[i] })
	if len(rows) != 3 {
		t.Fatalf("%+v", rows)
	}
	at := slices.IndexFunc(rows, func(r Row) bool { return r.Title == "web" })
	web := rows[at]
	used := capability.Of(capability.Chown, capability.Kill)
	if web.Status != Unused || !web.Privileged || web.Image != "" || web.Used != used || web.Runs != 1 || !slices.Equal(web.Positions, []int{0, 2}) {
		t.Errorf("%+v", web)
	}
	if *web.Granted != standard.With(capability.NetAdmin) || web.Unused != web.Granted.Minus(used) {
		t.Errorf("granted %s, unused %s", web.Granted.Text(), web.Unused.Text())
	}
	// What only one container certainly does not use may be needed by the other one.
	if web.Certain() || !web.Doubtful.Has(capability.NetRaw) || web.CertainlyUnused().Has(capability.NetRaw) {
		t.Errorf("doubtful %s", web.Doubtful.Text())
	}
	keys = []string{"all", "all", "all", "all"}
	if all := By(o.Containers, func(i int) string { return keys[i] })[0]; all.Granted != nil || len(all.Members) != 4 {
		t.Errorf("%+v", all)
	}
	if o.Containers[0].Title != "unseen" || len(o.Containers[0].Positions) != 1 || o.Containers[0].Used != capability.Of(capability.Kill) {
		t.Errorf("By changed its argument: %+v", o.Containers[0])
	}
}

// A container may fail without certainty about all of its unused capabilities.
func TestTotalsCountDoubtfulCapabilitiesSeparately(t *testing.T) {
	failing := row(Fail, "web", "web", capability.DockerDefault(), 0)
	failing.Doubtful = failing.Unused.Without(capability.NetRaw)
	o := New([]Row{failing})
	if o.Totals.Unused != 1 || o.Totals.Unseen != 13 || o.Totals.NetRawUnused != 1 || o.Rows[0].Certain() {
		t.Errorf("%+v", o.Totals)
	}
}

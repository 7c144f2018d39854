package top

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/capmon/capmon/capability"
	"github.com/capmon/capmon/internal/alert"
	"github.com/capmon/capmon/internal/api"
	"github.com/capmon/capmon/internal/overview"
)

// titles returns the titles of the shown rows, separated by spaces.
func (t *table) titles() string {
	var all []string
	for _, r := range t.shown {
		all = append(all, r.Title)
	}
	return strings.Join(all, " ")
}

func tableOf(containers ...api.Container) *table {
	t := &table{}
	t.update(api.Containers{Time: saturday, Containers: containers})
	return t
}

func TestRowsAreSorted(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		key      sortKey
		reversed bool
		want     string
	}{
		{byGravest, false, "agent web-2 web-10 db 0123456789ab proxy"},
		{byGravest, true, "proxy 0123456789ab db web-10 web-2 agent"},
		{byName, false, "0123456789ab agent db proxy web-2 web-10"},
		{byName, true, "web-10 web-2 proxy db agent 0123456789ab"},
		{byImage, false, "0123456789ab proxy web-2 web-10 db agent"},
		{byGranted, false, "agent web-2 web-10 db proxy 0123456789ab"},
		{byUsed, false, "db agent web-2 web-10 proxy 0123456789ab"},
		{byUnused, false, "agent web-2 web-10 db 0123456789ab proxy"},
		{byDenied, false, "db agent web-2 web-10 0123456789ab proxy"},
		{byLastUse, false, "agent web-2 web-10 proxy db 0123456789ab"},
		{byLastUse, true, "0123456789ab db agent web-2 web-10 proxy"},
	} {
		table := tableOf(someContainers()...)
		table.change(func() { table.order, table.reversed = test.key, test.reversed })
		if got := table.titles(); got != test.want {
			t.Errorf("%v, reversed %v: %s, wanted %s", test.key, test.reversed, got, test.want)
		}
	}
}

func TestTheOrderHasNamesForAllKeys(t *testing.T) {
	t.Parallel()
	for i, name := range SortKeys() {
		if key, err := parseSortKey(name); err != nil || int(key) != i {
			t.Errorf("%s: %v, %v", name, key, err)
		}
	}
	if byLastAlert.String() != "last-alert" || len(sortKeys) != int(byLastAlert)+1 {
		t.Errorf("the names are %v", sortKeys)
	}
	if _, err := parseSortKey("size"); err == nil || !strings.Contains(err.Error(), "gravest") {
		t.Errorf("an unknown order: %v", err)
	}
}

func TestTheSameKeyReversesTheOrder(t *testing.T) {
	t.Parallel()
	table := tableOf(someContainers()...)
	table.sortBy(byName)
	first := table.titles()
	table.sortBy(byName)
	reversed := strings.Fields(table.titles())
	if slices.Reverse(reversed); strings.Join(reversed, " ") != first {
		t.Errorf("%s, and then %v", first, reversed)
	}
	if table.sortBy(byName); table.titles() != first {
		t.Errorf("%s, and at last %s", first, table.titles())
	}
}

func TestUnchangedRowsAreNotSortedAgain(t *testing.T) {
	t.Parallel()
	containers := someContainers()
	table := tableOf(containers...)
	before := table.sorts
	for i := range containers {
		containers[i].Checks += 1000
	}
	table.update(api.Containers{Time: saturday.Add(2 * time.Second), Containers: containers})
	if table.sorts != before {
		t.Errorf("%d sorts of rows that are in order", table.sorts-before)
	}
	containers[3].Unused = 0
	containers[3].Status = overview.Fits
	table.update(api.Containers{Time: saturday.Add(4 * time.Second), Containers: containers})
	if table.sorts != before+1 || table.titles() != "agent web-10 db 0123456789ab proxy web-2" {
		t.Errorf("%d sorts: %s", table.sorts-before, table.titles())
	}
}

func TestTheSelectionFollowsTheContainer(t *testing.T) {
	t.Parallel()
	containers := someContainers()
	table := tableOf(containers...)
	table.move(2)
	if got := table.selected().Title; got != "web-10" {
		t.Fatalf("selected %s", got)
	}
	table.sortBy(byName)
	if got := table.selected().Title; got != "web-10" {
		t.Errorf("another order: selected %s", got)
	}
	table.update(api.Containers{Time: saturday, Containers: containers[1:]})
	if got := table.selected().Title; got != "web-10" {
		t.Errorf("a container ended: selected %s", got)
	}
	table.update(api.Containers{Time: saturday, Containers: containers[2:]})
	if table.selected() == nil {
		t.Error("the selected container ended, and none is selected")
	}
	table.update(api.Containers{Time: saturday})
	if table.selected() != nil || table.cursor != 0 {
		t.Errorf("no containers: selected %v", table.selected())
	}
	table.move(3)
	table.update(api.Containers{Time: saturday, Containers: containers})
	if table.selected() == nil {
		t.Error("containers started, and none is selected")
	}
}

func TestRates(t *testing.T) {
	t.Parallel()
	c := containerOf("web", "nginx")
	table := tableOf(c)
	rate := func() float64 { return table.shown[0].rate }
	if rate() >= 0 {
		t.Errorf("the first read: %v", rate())
	}
	next := func(seconds int, checks uint64) {
		c.Checks = checks
		table.update(api.Containers{Time: saturday.Add(time.Duration(seconds) * time.Second), Containers: []api.Container{c}})
	}
	if next(10, 150); rate() != 5 {
		t.Errorf("50 checks in 10 s: %v", rate())
	}
	if next(10, 150); rate() != 5 {
		t.Errorf("the same read again: %v", rate())
	}
	if next(20, 150); rate() != 0 {
		t.Errorf("no check: %v", rate())
	}
	if next(30, 7); rate() >= 0 {
		t.Errorf("started again: %v", rate())
	}
}

func TestTotals(t *testing.T) {
	t.Parallel()
	containers := someContainers()
	containers[6].Lost = 3 // it has ended
	want := totals{running: 6, ended: 1, privileged: 1, netRaw: 3, granted: 84, used: 9, unused: 66, perhaps: 9, denied: 1, lost: 3}
	if diff := cmp.Diff(want, tableOf(containers...).totals(), cmp.AllowUnexported(totals{})); diff != "" {
		t.Error(diff)
	}
}

func TestFilter(t *testing.T) {
	t.Parallel()
	for _, test := range []struct{ filter, want string }{
		{"", "agent web-2 web-10 db 0123456789ab proxy"},
		{"web", "web-2 web-10"},
		{"WEB-1", "web-10"},
		{"nginx 10", "web-10"},
		{"nginx:1.27", "web-2 web-10"},
		{"registry.example.com/", "agent"},
		{"nothing", ""},
		{"cap:NET_RAW", "agent web-2 web-10 db"},
		{"unused:net_raw web", "web-2 web-10"},
		{"unused:CAP_SYS_MODULE", "agent"},
		{"unused:SYS_M", "agent"},
		{"used:NET_BIND", "web-2 web-10 proxy"},
		{"used:NET_BIND unused:NET_RAW", "web-2 web-10"},
		{"denied:SYS_ADMIN", "db"},
		{"cap:SYS_ADMIN", "agent db"},
		{"granted:NET_BIND_SERVICE", "agent web-2 web-10 db proxy"},
		{"unused:", "agent web-2 web-10 db"}, // the beginning of every name
	} {
		f, err := parseFilter(test.filter)
		if err != nil {
			t.Errorf("%s: %v", test.filter, err)
			continue
		}
		table := tableOf(someContainers()...)
		table.change(func() { table.filter = f })
		if got := table.titles(); got != test.want {
			t.Errorf("%s: %s, wanted %s", test.filter, got, test.want)
		}
	}
	if _, err := parseFilter("web cap:NOTHING"); err == nil || !strings.Contains(err.Error(), `"NOTHING"`) {
		t.Errorf("an unknown capability: %v", err)
	}
}

func TestEndedContainersAreHidden(t *testing.T) {
	t.Parallel()
	table := tableOf(someContainers()...)
	if strings.Contains(table.titles(), "job") {
		t.Errorf("shown: %s", table.titles())
	}
	if table.change(func() { table.showEnded = true }); !strings.Contains(table.titles(), "job") {
		t.Errorf("shown: %s", table.titles())
	}
}

func TestAlertsAreShownWithTheirContainer(t *testing.T) {
	t.Parallel()
	containers := someContainers()
	table := tableOf(containers...)
	one := someAlerts()[0]
	table.setAlerts(map[string]*alert.Alert{containers[1].ID: &one})
	table.sortBy(byLastAlert)
	if first := table.shown[0]; first.Title != "web-10" || first.alert == nil {
		t.Errorf("first: %+v", first)
	}
	table.update(api.Containers{Time: saturday, Containers: containers})
	if first := table.shown[0]; first.Title != "web-10" || first.alert == nil {
		t.Errorf("first after a read: %+v", first)
	}
}

// Two cgroups can have the same ID in their names.
func TestAnUnconfirmedContainerHasARowOfItsOwn(t *testing.T) {
	t.Parallel()
	confirmed := containerOf("web", "nginx")
	forged := confirmed
	forged.Unconfirmed, forged.Title = "/user.slice/forged", "0123-unconfirmed"
	if got := tableOf(confirmed, forged).titles(); len(strings.Fields(got)) != 2 {
		t.Errorf("shown: %s", got)
	}
}

func TestLayout(t *testing.T) {
	t.Parallel()
	names := func(width int) (titles []string, sum int) {
		fit, widths := layout(width, func(c column) int { return 1000 })
		sum = marginWidth + gap*(len(fit)-1)
		for i, c := range fit {
			titles = append(titles, c.title)
			sum += widths[i]
		}
		return titles, sum
	}
	for width, want := range map[int]string{
		leastTerminalWidth: "NAME USED UNUSED DENIED",
		60:                 "NAME GRANTED USED UNUSED DENIED LAST USE",
		80:                 "NAME GRANTED USED UNUSED DENIED CHECKS/S LAST USE LAST ALERT",
		100:                "NAME IMAGE GRANTED USED UNUSED DENIED CHECKS/S LAST USE LAST ALERT",
		250:                "NAME IMAGE GRANTED USED UNUSED DENIED CHECKS/S LAST USE LAST ALERT",
	} {
		if titles, _ := names(width); strings.Join(titles, " ") != want {
			t.Errorf("%d columns: %v, wanted %s", width, titles, want)
		}
	}
	for width := leastTerminalWidth; width <= 250; width++ {
		if _, sum := names(width); sum > width {
			t.Errorf("%d columns: the table has %d", width, sum)
		}
	}
}

func TestCells(t *testing.T) {
	t.Parallel()
	for want, rate := range map[string]float64{"-": -1, "0": 0, "<0.1": 0.01, "0.5": 0.5, "99.9": 99.9, "100": 100, "9999": 9999, "12.5k": 12500, "3.1M": 3.1e6, "2.0G": 2e9} {
		if got := rateCell(&row{rate: rate}, saturday, 8); got != want {
			t.Errorf("%v: %s, wanted %s", rate, got, want)
		}
	}
	for want, since := range map[string]time.Duration{"0s": -time.Second, "59s": 59 * time.Second, "1m": time.Minute, "59m": time.Hour - 1, "1h": time.Hour, "47h": 48*time.Hour - 1, "2d": 48 * time.Hour} {
		if got := age(saturday.Add(-since), saturday); got != want {
			t.Errorf("%v: %s, wanted %s", since, got, want)
		}
	}
	use := &row{Container: api.Container{LastUse: &api.LastUse{Capability: capability.CheckpointRestore, Time: saturday.Add(-47 * time.Hour)}}}
	if got := lastUseCell(use, saturday, 13); got != "CHECKPOI… 47h" {
		t.Errorf("a long name: %q", got)
	}
}

// manyContainers returns containers in a random order.
func manyContainers(n int) []api.Container {
	random := rand.New(rand.NewPCG(1, 2))
	all := make([]api.Container, n)
	for i := range all {
		all[i] = containerOf(fmt.Sprintf("service-%d", i), fmt.Sprintf("registry.example.com/team/image-%d:1.%d", i%37, i%11), capability.NetBindService, capability.Setuid)
		all[i].ID = fmt.Sprintf("%064x", i)
		all[i].Unused = all[i].Unused.Intersect(capability.Set(random.Uint64()))
		all[i].Checks = random.Uint64N(1000)
	}
	random.Shuffle(n, func(i, j int) { all[i], all[j] = all[j], all[i] })
	return all
}

package top

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/capmon/capmon/capability"
	"github.com/capmon/capmon/internal/alert"
	"github.com/capmon/capmon/internal/api"
	"github.com/capmon/capmon/internal/overview"
)

// row is a container with what the screen derives from it.
type row struct {
	api.Container
	key string
	// rate is the number of checks per second between the last two reads; negative if it is not known.
	rate float64
	// alert is the last alert of the container; nil if there is none.
	alert *alert.Alert
}

// keyOf returns what identifies a container on the screen.
func keyOf(c api.Container) string { return c.ID + " " + c.Unconfirmed }

// granted returns the grants, which are empty if they are not known.
func (r *row) granted() capability.Set {
	if r.Granted == nil {
		return 0
	}
	return *r.Granted
}

// table has the rows in the order of the screen, independently of the terminal.
type table struct {
	rows   []*row // all, sorted
	shown  []*row // the rows that the filter and showEnded select
	byKey  map[string]*row
	readAt time.Time // the time of the snapshot

	order     sortKey
	reversed  bool
	filter    filter
	showEnded bool
	cursor    int // index in shown
	sorts     int // number of sorts, for tests
}

// sortKey is what the rows are sorted by.
type sortKey int

// The keys of the order, in the order of the digits that select them.
const (
	byGravest sortKey = iota
	byName
	byImage
	byGranted
	byUsed
	byUnused
	byDenied
	byRate
	byLastUse
	byLastAlert
)

// sortKeys has the names of the orders. A name is also a value of --sort.
var sortKeys = []string{"gravest", "name", "image", "granted", "used", "unused", "denied", "rate", "last-use", "last-alert"}

// SortKeys returns the names of the orders. The first one is the default.
func SortKeys() []string { return slices.Clone(sortKeys) }

func (k sortKey) String() string { return sortKeys[k] }

// parseSortKey returns the order with this name.
func parseSortKey(name string) (sortKey, error) {
	if i := slices.Index(sortKeys, name); i >= 0 {
		return sortKey(i), nil
	}
	return 0, fmt.Errorf("unknown order %q: choose one of %s", name, strings.Join(sortKeys, ", "))
}

// compare compares two rows in an order: the highest number and the latest time come first.
func (k sortKey) compare(one, other *row) int {
	switch k {
	case byName:
		return overview.CompareNames(one.Title, other.Title)
	case byImage:
		return overview.CompareNames(one.Image, other.Image)
	case byGranted:
		return cmp.Compare(other.granted().Len(), one.granted().Len())
	case byUsed:
		return cmp.Compare(other.Used.Len(), one.Used.Len())
	case byUnused:
		return cmp.Compare(other.Unused.Len(), one.Unused.Len())
	case byDenied:
		return cmp.Compare(other.Denied.Len(), one.Denied.Len())
	case byRate:
		return cmp.Compare(other.rate, one.rate)
	case byLastUse:
		return other.lastUse().Compare(one.lastUse())
	case byLastAlert:
		return other.lastAlert().Compare(one.lastAlert())
	}
	return 0
}

func (r *row) lastUse() time.Time {
	if r.LastUse == nil {
		return time.Time{}
	}
	return r.LastUse.Time
}

func (r *row) lastAlert() time.Time {
	if r.alert == nil {
		return time.Time{}
	}
	return r.alert.Time
}

func (t *table) compare(one, other *row) int {
	order := t.order.compare(one, other)
	if t.reversed {
		order = -order
	}
	if order == 0 {
		gravest := overview.Order(one.Row(), other.Row())
		if t.reversed && t.order == byGravest {
			gravest = -gravest
		}
		order = gravest
	}
	return cmp.Or(order, cmp.Compare(one.key, other.key))
}

// update replaces the rows by a newer snapshot. The selected container stays selected.
func (t *table) update(snapshot api.Containers) {
	elapsed := snapshot.Time.Sub(t.readAt).Seconds()
	known := t.byKey
	t.byKey = make(map[string]*row, len(snapshot.Containers))
	var added []*row
	for _, c := range snapshot.Containers {
		r := &row{Container: c, key: keyOf(c), rate: -1}
		r.Title, r.Image = bound(c.Title), bound(c.Image)
		if old := known[r.key]; old != nil {
			r.alert, r.rate = old.alert, rateOf(old, c, elapsed)
		} else {
			added = append(added, r)
		}
		t.byKey[r.key] = r
	}
	t.readAt = snapshot.Time
	t.arrange(added)
}

func rateOf(old *row, c api.Container, elapsed float64) float64 {
	switch {
	case elapsed <= 0:
		return old.rate // the same read
	case c.Checks < old.Checks:
		return -1 // it was started again
	}
	return float64(c.Checks-old.Checks) / elapsed
}

// arrange replaces rows by the ones in byKey, in the order before. added are the rows that are not in rows.
func (t *table) arrange(added []*row) {
	selected := t.selectedKey()
	rows := make([]*row, 0, len(t.byKey))
	for _, old := range t.rows {
		if r := t.byKey[old.key]; r != nil {
			rows = append(rows, r)
		}
	}
	t.rows = append(rows, added...)
	t.sort(selected)
}

// sort sorts the rows if they are not sorted, applies the filter, and selects the row with this key.
func (t *table) sort(selected string) {
	if !slices.IsSortedFunc(t.rows, t.compare) {
		slices.SortFunc(t.rows, t.compare)
		t.sorts++
	}
	t.shown = t.shown[:0]
	for _, r := range t.rows {
		if (r.Running || t.showEnded) && t.filter.matches(r) {
			t.shown = append(t.shown, r)
		}
	}
	if at := slices.IndexFunc(t.shown, func(r *row) bool { return r.key == selected }); at >= 0 {
		t.cursor = at
	}
	t.move(0)
}

// change changes how rows are sorted and selected. The selected container stays selected.
func (t *table) change(by func()) {
	selected := t.selectedKey()
	by()
	t.sort(selected)
}

// sortBy changes the order. The same order again reverses it.
func (t *table) sortBy(key sortKey) {
	t.change(func() {
		t.reversed = t.order == key && !t.reversed
		t.order = key
	})
}

// setAlerts sets the last alert of each container, by container ID.
func (t *table) setAlerts(last map[string]*alert.Alert) {
	t.change(func() {
		for _, r := range t.rows {
			r.alert = last[r.ID]
		}
	})
}

func (t *table) selectedKey() string {
	if r := t.selected(); r != nil {
		return r.key
	}
	return ""
}

// selected returns the selected row, nil if no row is shown.
func (t *table) selected() *row {
	if t.cursor >= len(t.shown) {
		return nil
	}
	return t.shown[t.cursor]
}

// move moves the selection by a number of rows.
func (t *table) move(by int) { t.cursor = max(0, min(t.cursor+by, len(t.shown)-1)) }

// totals are sums over all running containers. lost also counts the checks that ended containers lost. perhaps is the
// number of capabilities that are perhaps unused.
type totals struct {
	running, ended, privileged, netRaw, granted, used, unused, perhaps, denied int
	rate                                                                       float64
	lost                                                                       uint64
}

func (t *table) totals() (sum totals) {
	for _, r := range t.rows {
		sum.lost += r.Lost
		if !r.Running {
			sum.ended++
			continue
		}
		sum.running++
		if r.Privileged {
			sum.privileged++
		}
		if r.Row().CertainlyUnused().Has(capability.NetRaw) {
			sum.netRaw++
		}
		sum.granted += r.granted().Len()
		sum.used += r.Used.Len()
		sum.denied += r.Denied.Len()
		sum.rate += max(r.rate, 0)
		if r.Row().Certain() {
			sum.unused += r.Unused.Len()
		} else {
			sum.perhaps += r.Unused.Len()
		}
	}
	return sum
}

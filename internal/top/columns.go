package top

import (
	"cmp"
	"fmt"
	"slices"
	"strconv"
	"time"

	"github.com/capmon/capmon/capability"
	"github.com/capmon/capmon/internal/alert"
	"github.com/capmon/capmon/internal/overview"
)

// column is a column of the table.
type column struct {
	title string
	key   sortKey
	// least and most are the limits of the width. A column with a lower rank is left out first.
	least, most, rank int
	right             bool // numbers
	// cell returns the text of a cell, which may be wider than the column, for cut to shorten.
	cell func(r *row, now time.Time, width int) string
	cut  func(s string, width int) string
	// paint returns the style of a cell.
	paint func(r *row, s *styles) style
}

// gap is the number of columns between two cells, and marginWidth is the width of the mark of the selected row.
const (
	gap         = 1
	marginWidth = 2
)

// columns are the columns of the table, from left to right.
var columns = []column{
	{title: "NAME", key: byName, least: 12, most: 40, rank: 9, cell: nameCell, cut: cutEnd, paint: namePaint},
	{title: "IMAGE", key: byImage, least: 12, most: 60, rank: 1, cell: imageCell, cut: cutStart},
	{title: "GRANTED", key: byGranted, least: 7, rank: 5, right: true, cell: grantedCell, paint: grantedPaint},
	{title: "USED", key: byUsed, least: 4, rank: 7, right: true, cell: usedCell, paint: usedPaint},
	{title: "UNUSED", key: byUnused, least: 8, most: 14, rank: 8, cell: unusedCell, paint: unusedPaint},
	{title: "DENIED", key: byDenied, least: 6, rank: 6, right: true, cell: deniedCell, paint: deniedPaint},
	{title: "CHECKS/S", key: byRate, least: 8, rank: 3, right: true, cell: rateCell},
	{title: "LAST USE", key: byLastUse, least: 13, most: 24, rank: 4, cell: lastUseCell, paint: lastUsePaint},
	{title: "LAST ALERT", key: byLastAlert, least: 10, most: 30, rank: 2, cell: lastAlertCell, paint: lastAlertPaint},
}

// layout returns the columns that fit in a terminal and their widths. widest has the widths that the columns would like
// to have.
func layout(terminal int, widest func(column) int) (fit []column, widths []int) {
	fit = slices.Clone(columns)
	for len(fit) > 1 && leastWidth(fit) > terminal {
		lowest := slices.MinFunc(fit, func(one, other column) int { return cmp.Compare(one.rank, other.rank) })
		fit = slices.DeleteFunc(fit, func(c column) bool { return c.key == lowest.key })
	}
	left := terminal - leastWidth(fit)
	for _, c := range fit {
		more := max(0, min(max(widest(c), len(c.title))-c.least, max(c.most, c.least)-c.least, left))
		widths = append(widths, c.least+more)
		left -= more
	}
	return fit, widths
}

func leastWidth(fit []column) int {
	sum := marginWidth + gap*(len(fit)-1)
	for _, c := range fit {
		sum += c.least
	}
	return sum
}

func nameCell(r *row, _ time.Time, _ int) string {
	if !r.Running {
		return safe(r.Title) + " (ended)"
	}
	return safe(r.Title)
}

func imageCell(r *row, _ time.Time, _ int) string { return cmp.Or(safe(r.Image), "-") }

func grantedCell(r *row, _ time.Time, _ int) string { return r.Row().GrantedText() }

func usedCell(r *row, _ time.Time, _ int) string { return r.Row().UsedText() }

// unusedCell returns the number of unused capabilities, and the gravest one if it is risky or NET_RAW. The number has a
// question mark if capmon is not certain.
func unusedCell(r *row, _ time.Time, width int) string {
	if r.Granted == nil {
		return "?"
	}
	s := r.Row().UnusedNumber()
	gravest := overview.Gravest(r.Unused.Intersect(capability.RiskyOrNetRaw()))
	if len(gravest) == 0 {
		return s
	}
	name, room := gravest[0].String(), width-len(" ")-len(s)
	if gravest[0] == capability.NetRaw && room < len(name) {
		name = "RAW"
	}
	if name = cutEnd(name, room); name == "" {
		return s
	}
	return s + " " + name
}

func deniedCell(r *row, _ time.Time, _ int) string { return strconv.Itoa(r.Denied.Len()) }

// rateCell returns the number of checks per second.
func rateCell(r *row, _ time.Time, _ int) string {
	switch {
	case r.rate < 0:
		return "-"
	case r.rate > 0 && r.rate < 0.1:
		return "<0.1"
	case r.rate == 0 || r.rate >= 100:
		return number(r.rate)
	}
	return fmt.Sprintf("%.1f", r.rate)
}

// number returns a number with a unit if it is large: 950, 12.5k, 3.1M.
func number(n float64) string {
	switch {
	case n < 10_000:
		return fmt.Sprintf("%.0f", n)
	case n < 1e6:
		return fmt.Sprintf("%.1fk", n/1e3)
	case n < 1e9:
		return fmt.Sprintf("%.1fM", n/1e6)
	}
	return fmt.Sprintf("%.1fG", n/1e9)
}

func lastUseCell(r *row, now time.Time, width int) string {
	if r.LastUse == nil {
		return "-"
	}
	sign := ""
	if r.LastUse.Denied {
		sign = signDenied + " "
	}
	return withAge(sign+r.LastUse.Capability.String(), r.LastUse.Time, now, width)
}

func lastAlertCell(r *row, now time.Time, width int) string {
	if r.alert == nil {
		return "-"
	}
	return withAge(severitySigns[r.alert.Severity]+" "+safe(r.alert.Rule), r.alert.Time, now, width)
}

// withAge appends to a text how long ago a time was. It shortens only the text.
func withAge(text string, at, now time.Time, width int) string {
	age := age(at, now)
	return cutEnd(text, width-len(age)-1) + " " + age
}

// age returns how long ago a time was, with one unit.
func age(at, now time.Time) string {
	switch d := max(now.Sub(at), 0); {
	case d < time.Minute:
		return fmt.Sprintf("%ds", int(d.Seconds()))
	case d < time.Hour:
		return fmt.Sprintf("%dm", int(d.Minutes()))
	case d < 48*time.Hour:
		return fmt.Sprintf("%dh", int(d.Hours()))
	default:
		return fmt.Sprintf("%dd", int(d.Hours()/24))
	}
}

// severitySigns are the signs of the severities of alerts.
var severitySigns = map[alert.Severity]string{alert.Info: "i", alert.Warning: "!", alert.Critical: "!!"}

func namePaint(r *row, s *styles) style {
	if !r.Running {
		return s.faint
	}
	return s.bold
}

func grantedPaint(r *row, s *styles) style {
	if r.Privileged {
		return s.bad
	}
	return s.plain
}

func usedPaint(r *row, s *styles) style {
	if r.Used.Empty() {
		return s.plain
	}
	return s.good
}

func unusedPaint(r *row, s *styles) style {
	switch {
	case r.Unused.Empty():
		return s.plain
	case !r.Unused.Intersect(capability.RiskyOrNetRaw()).Empty():
		return s.bad
	}
	return s.warn
}

func deniedPaint(r *row, s *styles) style {
	if r.Denied.Empty() {
		return s.plain
	}
	return s.bad
}

func lastUsePaint(r *row, s *styles) style {
	if r.LastUse != nil && r.LastUse.Denied {
		return s.bad
	}
	return s.plain
}

func lastAlertPaint(r *row, s *styles) style {
	if r.alert == nil {
		return s.plain
	}
	return s.severity(r.alert.Severity)
}

package top

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"charm.land/bubbles/v2/key"
	tea "charm.land/bubbletea/v2"

	"github.com/capmon/capmon/internal/profile"
)

// The smallest terminal that the screen fits in. 80×24 and more is comfortable.
const (
	leastTerminalWidth  = 40
	leastTerminalHeight = 8
)

// View implements [tea.Model].
func (m *model) View() tea.View {
	view := tea.NewView(strings.Join(m.lines(), "\n"))
	view.AltScreen = true
	if m.filtering {
		_, column := m.prompt.view(m.width)
		view.Cursor = tea.NewCursor(column, m.height-1)
	}
	return view
}

// lines returns the lines of the screen. No line is wider than the terminal.
func (m *model) lines() []string {
	if m.width < leastTerminalWidth || m.height < leastTerminalHeight {
		return m.tooSmall()
	}
	lines := m.header()
	switch m.page {
	case tablePage:
		lines = append(lines, m.tableLines(m.visibleRows())...)
	default:
		lines = append(lines, m.body.visible()...)
	}
	return append(fill(lines, m.height-len(m.footer())), m.footer()...)
}

// tooSmall returns the message for a terminal that is too small.
func (m *model) tooSmall() []string {
	text := fmt.Sprintf("capmon top needs a terminal of at least %d×%d. This one has %d×%d. q quits.", leastTerminalWidth, leastTerminalHeight, m.width, m.height)
	if m.width < 1 || m.height < 1 {
		return nil
	}
	var lines []string
	for rest := text; rest != "" && len(lines) < m.height; {
		runes := []rune(rest)
		n := min(m.width, len(runes))
		lines, rest = append(lines, string(runes[:n])), string(runes[n:])
	}
	return lines
}

// fill returns exactly height lines: it adds empty lines, or removes lines at the end.
func fill(lines []string, height int) []string {
	for len(lines) < height {
		lines = append(lines, "")
	}
	return lines[:max(height, 0)]
}

// header returns the lines with the totals, and what the reader must know about them.
func (m *model) header() []string {
	lines := []string{m.titleLine()}
	if m.snapshot.Hook != "" {
		for _, text := range m.totalTexts() {
			lines = append(lines, cutEnd(text, m.width))
		}
	}
	for _, warning := range m.warnings() {
		wrapped := wrap(warning, m.width, "  ")
		if most := max(m.height/8, 1); len(wrapped) > most { // the table must stay visible
			wrapped = wrapped[:most]
			wrapped[most-1] = cutEnd(wrapped[most-1], m.width-1) + "…"
		}
		for _, line := range wrapped {
			lines = append(lines, m.styles.bad.Render(line))
		}
	}
	return lines
}

// titleLine returns the line with the host and the state of the recording.
func (m *model) titleLine() string {
	parts := []string{safe(m.options.Host), "capmon top", m.source.Name()}
	if m.snapshot.Engine != "" {
		parts = append(parts, safe(m.snapshot.Engine))
	}
	state := "reading…"
	switch {
	case m.failure != nil:
		state = "NOT UP TO DATE"
	case m.snapshot.Hook != "" && m.lossTexts() != nil:
		state = "LOST RECORDS"
	case m.snapshot.Hook != "":
		state = "none lost"
	}
	if m.snapshot.Hook != "" {
		parts = append(parts, "hook "+safe(string(m.snapshot.Hook)))
	}
	at := m.now()
	if !m.snapshot.Time.IsZero() {
		at = m.snapshot.Time
	}
	right := state + "  " + at.Local().Format(time.TimeOnly)
	if m.paused {
		right = "PAUSED  " + right
	}
	left := cutEnd(strings.Join(parts, "  "), m.width-len(right)-2)
	return m.styles.bold.Render(left + strings.Repeat(" ", max(m.width-width(left)-width(right), 0)) + right)
}

// totalTexts returns the totals of all running containers.
func (m *model) totalTexts() []string {
	t := m.sums
	first := fmt.Sprintf("%s, %s checks/s", count(t.running, "container", "containers"), number(t.rate))
	if t.privileged > 0 {
		first += fmt.Sprintf(", %d privileged", t.privileged)
	}
	if t.netRaw > 0 {
		first += fmt.Sprintf(", %d with unused NET_RAW", t.netRaw)
	}
	if t.ended > 0 && !m.table.showEnded {
		first += fmt.Sprintf(", %d ended (key e)", t.ended)
	}
	second := fmt.Sprintf("capabilities: %d granted, %d used, %d unused", t.granted, t.used, t.unused)
	if t.perhaps > 0 {
		second += fmt.Sprintf(", %d perhaps unused", t.perhaps)
	}
	return []string{first, fmt.Sprintf("%s, %d denied", second, t.denied)}
}

// lossTexts returns what was lost; nil if nothing was.
func (m *model) lossTexts() []string {
	texts := profile.LossTexts(m.snapshot.Losses)
	if last := m.snapshot.LastLoss; last != "" && !slices.Contains(texts, last) {
		texts = append([]string{escape(bound(last))}, texts...)
	}
	if lost := m.sums.lost; lost > 0 && len(texts) == 0 {
		texts = append(texts, fmt.Sprintf("%d checks", lost))
	}
	return texts
}

// warnings returns what makes the numbers of the screen wrong or old.
func (m *model) warnings() []string {
	var texts []string
	if m.failure != nil {
		old := "there is no data yet"
		if !m.snapshot.Time.IsZero() {
			old = "the screen shows data of " + m.snapshot.Time.Local().Format(time.TimeOnly)
		}
		texts = append(texts, fmt.Sprintf("%s; %s; retrying since %s", safe(m.failure.Error()), old, m.failedSince.Local().Format(time.TimeOnly)))
	}
	if lost := m.lossTexts(); lost != nil {
		texts = append(texts, "LOST, so unused capabilities may have been used: "+strings.Join(lost, "; "))
	}
	if m.snapshot.Trouble != "" {
		texts = append(texts, "capmon serve cannot save: "+safe(m.snapshot.Trouble))
	}
	if m.alerts.err != nil && m.failure == nil {
		texts = append(texts, "cannot read the alerts: "+safe(m.alerts.err.Error()))
	}
	return texts
}

// footerHeight is the number of lines of the footer.
const footerHeight = 2

// footer returns the lines with the selected container and the keys.
func (m *model) footer() []string {
	return []string{m.statusLine(), m.keyLine()}
}

func (m *model) statusLine() string {
	switch {
	case m.filterErr != nil:
		return m.styles.bad.Render(cutEnd(escape(bound(m.filterErr.Error())), m.width))
	case m.notice != "" && m.now().Sub(m.noticeAt) < noticeTime:
		return m.styles.note.Render(cutEnd(escape(bound(m.notice)), m.width))
	case m.page != tablePage:
		return cutEnd(m.positionText(), m.width)
	}
	r := m.table.selected()
	if r == nil {
		return ""
	}
	parts := []string{safe(r.Title)}
	switch row := r.Row(); {
	case row.Grave():
		parts[0] += ": " + row.Why()
	case r.Image != "":
		parts = append(parts, safe(r.Image))
	}
	if r.alert != nil {
		parts = append(parts, "last alert: "+safe(r.alert.Rule))
	}
	return cutEnd(strings.Join(parts, "  "), m.width)
}

// positionText returns which lines of the page are visible.
func (m *model) positionText() string {
	total, visible := len(m.body.lines), len(m.body.visible())
	if total <= visible {
		return ""
	}
	return fmt.Sprintf("lines %d to %d of %d; more with ↑ ↓ PgUp PgDn", m.body.top+1, m.body.top+visible, total)
}

func (m *model) keyLine() string {
	if m.filtering {
		line, _ := m.prompt.view(m.width)
		return line
	}
	hints := []string{"Enter open", "/ filter", "1-0 sort", "a alerts", "p pause", "? help", "q quit"}
	switch m.page {
	case detailsPage:
		hints = []string{"Esc back", "c copy the list", "a alerts", "p pause", "? help", "q quit"}
	case alertsPage, helpPage:
		hints = []string{"Esc back", "? help", "q quit"}
	}
	if text := m.prompt.text; text != "" && m.page == tablePage {
		hints = append([]string{fmt.Sprintf("%d of %d shown by the filter %s (Esc removes it)", len(m.table.shown), len(m.table.rows), safe(text))}, hints...)
	}
	return m.styles.faint.Render(cutEnd(strings.Join(hints, "   "), m.width))
}

// visibleRows returns how many rows of the table fit on the screen.
func (m *model) visibleRows() int { return max(m.height-len(m.header())-footerHeight-1, 0) }

// bodyHeight returns how many lines of the other pages fit on the screen.
func (m *model) bodyHeight() int { return max(m.height-len(m.header())-footerHeight, 0) }

// layBody makes the lines of the current page. The page of the table has no body.
func (m *model) layBody() {
	var lines []string
	switch m.page {
	case detailsPage:
		lines = m.detailLines()
	case alertsPage:
		lines = m.alertLines()
	case helpPage:
		lines = m.helpLines()
	}
	m.body.set(lines, m.bodyHeight())
}

// tableLines returns the heading of the table and the visible rows.
func (m *model) tableLines(height int) []string {
	fit, widths := layout(m.width, m.widest)
	lines := []string{m.heading(fit, widths)}
	if len(m.table.shown) == 0 {
		return append(lines, m.emptyText())
	}
	first := max(0, min(m.table.cursor-height/2, len(m.table.shown)-height))
	now := m.now()
	for i, r := range m.table.shown[first:min(first+height, len(m.table.shown))] {
		lines = append(lines, m.rowLine(r, fit, widths, now, first+i == m.table.cursor))
	}
	return lines
}

// widest returns the width of the widest cell of a column that can grow. To be fast, it considers a bounded number of
// rows.
func (m *model) widest(c column) int {
	const considered = 200
	if c.most <= c.least {
		return c.least
	}
	widest, now := 0, m.now()
	for _, r := range m.table.shown[:min(len(m.table.shown), considered)] {
		widest = max(widest, width(c.cell(r, now, c.most)))
		if widest >= c.most {
			break
		}
	}
	return widest
}

func (m *model) heading(fit []column, widths []int) string {
	var line strings.Builder
	line.WriteString(strings.Repeat(" ", marginWidth))
	for i, c := range fit {
		if i > 0 {
			line.WriteString(strings.Repeat(" ", gap))
		}
		title := c.title
		if m.table.order == c.key {
			title = markSorted(title, m.table.reversed, widths[i])
		}
		line.WriteString(pad(title, widths[i], c.right))
	}
	return m.styles.bold.Render(strings.TrimRight(line.String(), " "))
}

// markSorted marks the heading of the column that the rows are sorted by.
func markSorted(title string, reversed bool, width int) string {
	sign := "v"
	if reversed {
		sign = "^"
	}
	return cutEnd(title, width-1) + sign
}

func (m *model) emptyText() string {
	switch {
	case m.snapshot.Hook == "":
		return ""
	case len(m.table.rows) > 0:
		return strings.Repeat(" ", marginWidth) + "no container matches"
	}
	return strings.Repeat(" ", marginWidth) + "no containers run"
}

func (m *model) rowLine(r *row, fit []column, widths []int, now time.Time, selected bool) string {
	var line strings.Builder
	margin := strings.Repeat(" ", marginWidth)
	if selected {
		margin = pad(">", marginWidth, false)
	}
	line.WriteString(margin)
	for i, c := range fit {
		if i > 0 {
			line.WriteString(strings.Repeat(" ", gap))
		}
		text := c.cell(r, now, widths[i])
		if c.cut == nil {
			text = cutEnd(text, widths[i])
		} else {
			text = c.cut(text, widths[i])
		}
		if i < len(fit)-1 || c.right || selected {
			text = pad(text, widths[i], c.right)
		}
		if c.paint != nil && !selected { // a selected row is one block
			text = c.paint(r, m.styles).Render(text)
		}
		line.WriteString(text)
	}
	if selected {
		return m.styles.reverse.Render(pad(line.String(), m.width, false))
	}
	return line.String()
}

// helpLines returns the help.
func (m *model) helpLines() []string {
	var lines []string
	add := func(format string, args ...any) {
		lines = append(lines, wrap(fmt.Sprintf(format, args...), m.width, strings.Repeat(" ", helpIndent))...)
	}
	for _, binding := range keys.all() {
		add("%s", helpLine(binding))
	}
	add("%s", pad("1 to 9, 0", helpIndent, false)+"sort by: "+sortText())
	for _, text := range []string{
		"",
		"The table is about the time since the last start of each container, as far as capmon recorded it.",
		"UNUSED: the gravest unused capability (RAW is NET_RAW), and how many are unused. A question mark means that capmon did not see enough to be certain.",
		"GRANTED: all means a privileged container.",
		"",
		"Words of a filter must all match. A word is a part of a name or image, or one of",
		"  cap:NET_RAW       granted, used or denied",
		"  granted:NET_RAW   used:NET_RAW   unused:NET_RAW   denied:NET_RAW",
		"The beginning of a capability is sufficient: unused:SYS",
		"",
		"Signs: " + signText(),
		"Alerts: i info, ! warning, !! critical",
	} {
		add("%s", text)
	}
	return lines
}

// helpIndent is the width of the keys in the help.
const helpIndent = 12

// sortText lists the keys of the orders.
func sortText() string {
	var parts []string
	for i, binding := range keys.sort {
		parts = append(parts, binding.Help().Key+" "+sortKeys[i])
	}
	return strings.Join(parts, ", ") + ". The same key again reverses the order"
}

func helpLine(binding key.Binding) string {
	return pad(binding.Help().Key, helpIndent-1, false) + " " + binding.Help().Desc
}

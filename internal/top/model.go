package top

import (
	"context"
	"errors"
	"time"

	"charm.land/bubbles/v2/key"
	tea "charm.land/bubbletea/v2"

	"github.com/capmon/capmon/internal/alert"
	"github.com/capmon/capmon/internal/dockerflags"
)

const (
	// detailsInterval is the interval at which the open container is read again, and alertsInterval the one at which
	// the alerts are read. capmon serve reads both from its database, for one client at a time.
	detailsInterval, alertsInterval = 10 * time.Second, 5 * time.Second
	// noticeTime is how long a notice is visible.
	noticeTime = 5 * time.Second
)

// page is what the screen shows.
type page int

const (
	tablePage page = iota
	detailsPage
	alertsPage
	helpPage
)

// model is the state of the screen, as Bubble Tea needs it.
type model struct {
	ctx     context.Context
	options Options
	source  Source
	styles  *styles
	now     func() time.Time

	width, height int
	page, before  page // before is the page from which the help was opened
	table         table
	sums          totals
	snapshot      Snapshot
	failure       error // of the last read
	failedSince   time.Time
	paused        bool

	prompt    prompt
	filtering bool
	filterErr error

	open       *row // the container of the details page
	details    *Details
	detailsErr error
	detailsAt  time.Time // when the details were requested
	body       pager

	alerts   alertLog
	alertsAt time.Time // when the alerts were requested
	notice   string
	noticeAt time.Time
}

// Messages to the model.
type (
	// tick is the time for the next read.
	tick struct{}
	// readDone is the result of a read.
	readDone struct {
		snapshot Snapshot
		err      error
	}
	// detailsDone is the result of reading the details of the container with the key.
	detailsDone struct {
		key     string
		details Details
		err     error
	}
	// alertsDone is the result of reading the alerts.
	alertsDone struct {
		alerts []alert.Alert
		err    error
	}
	// notice is a text for the user, such as a line of the log.
	notice string
)

func newModel(ctx context.Context, source Source, options Options) *model {
	m := &model{
		ctx: ctx, options: options, source: source, styles: newStyles(options.Color), now: time.Now,
		table: table{order: options.order, filter: options.filter},
	}
	m.prompt.insert(options.Filter)
	return m
}

// Init implements [tea.Model].
func (m *model) Init() tea.Cmd { return tea.Batch(m.read(), m.readAlerts()) }

// Update implements [tea.Model].
func (m *model) Update(msg tea.Msg) (tea.Model, tea.Cmd) {
	switch msg := msg.(type) {
	case tea.WindowSizeMsg:
		m.width, m.height = msg.Width, msg.Height
		m.layBody()
	case tea.KeyPressMsg:
		return m, m.press(msg)
	case tea.PasteMsg:
		if m.filtering {
			m.edit(msg)
		}
	case tick:
		if m.paused {
			return m, m.wait()
		}
		return m, tea.Batch(m.read(), m.refreshAlerts())
	case readDone:
		m.handleRead(msg)
		return m, tea.Batch(m.wait(), m.refreshDetails())
	case detailsDone:
		m.handleDetails(msg)
	case alertsDone:
		m.handleAlerts(msg)
	case notice:
		m.notify(string(msg))
	}
	return m, nil
}

// wait returns a command for the next tick.
func (m *model) wait() tea.Cmd {
	return tea.Tick(m.options.Interval, func(time.Time) tea.Msg { return tick{} })
}

func (m *model) read() tea.Cmd {
	return command(func() tea.Msg {
		snapshot, err := m.source.Read(m.ctx)
		return readDone{snapshot, err}
	})
}

func (m *model) handleRead(msg readDone) {
	if m.paused { // the read had begun before
		return
	}
	if msg.err != nil {
		if m.failure == nil {
			m.failedSince = m.now()
		}
		m.failure = msg.err
		m.layBody()
		return
	}
	if m.failure != nil {
		m.notify(m.source.Name() + " answers again")
	}
	m.failure, m.snapshot = nil, msg.snapshot
	m.table.update(msg.snapshot.Containers)
	m.sums = m.table.totals()
	if m.open != nil {
		if r := m.table.byKey[m.open.key]; r != nil {
			m.open = r
		}
	}
	if m.page != tablePage { // the height of the header may have changed
		m.layBody()
	}
}

func (m *model) notify(text string) { m.notice, m.noticeAt = text, m.now() }

// press handles a key.
func (m *model) press(msg tea.KeyPressMsg) tea.Cmd {
	if m.filtering && msg.String() != "ctrl+c" {
		m.edit(msg)
		return nil
	}
	switch {
	case key.Matches(msg, keys.quit):
		return tea.Quit
	case key.Matches(msg, keys.suspend):
		return tea.Suspend
	case key.Matches(msg, keys.pause):
		m.paused = !m.paused
		return nil
	case key.Matches(msg, keys.help):
		if m.page != helpPage {
			m.before = m.page
			m.show(helpPage)
			return nil
		}
		m.show(m.before)
		return nil
	case m.page == tablePage:
		return m.pressInTable(msg)
	}
	return m.pressInBody(msg)
}

func (m *model) pressInTable(msg tea.KeyPressMsg) tea.Cmd {
	for i, binding := range keys.sort {
		if key.Matches(msg, binding) {
			m.table.sortBy(sortKey(i))
			return nil
		}
	}
	switch {
	case key.Matches(msg, keys.open):
		return m.openSelected()
	case key.Matches(msg, keys.filter):
		m.filtering = true
	case key.Matches(msg, keys.back):
		m.prompt.text = ""
		m.applyFilter()
	case key.Matches(msg, keys.ended):
		m.table.change(func() { m.table.showEnded = !m.table.showEnded })
	case key.Matches(msg, keys.alerts):
		m.show(alertsPage)
	default:
		m.table.move(moveBy(msg, m.visibleRows(), len(m.table.shown)))
	}
	return nil
}

// pressInBody handles a key in the details, the alerts and the help.
func (m *model) pressInBody(msg tea.KeyPressMsg) tea.Cmd {
	switch {
	case key.Matches(msg, keys.back):
		switch {
		case m.page == helpPage:
			m.show(m.before)
		case m.page == alertsPage && m.open != nil:
			m.show(detailsPage)
		default:
			m.show(tablePage)
		}
	case key.Matches(msg, keys.alerts):
		m.show(alertsPage)
	case m.page == detailsPage && key.Matches(msg, keys.copy, keys.copyUnseen):
		return m.copyList(key.Matches(msg, keys.copyUnseen))
	default:
		m.body.move(moveBy(msg, m.body.height, len(m.body.lines)))
	}
	return nil
}

// moveBy returns by how many lines a key moves, on a page with this height and number of lines; 0 for other keys.
func moveBy(msg tea.KeyPressMsg, height, lines int) int {
	switch {
	case key.Matches(msg, keys.up):
		return -1
	case key.Matches(msg, keys.down):
		return 1
	case key.Matches(msg, keys.pageUp):
		return -height
	case key.Matches(msg, keys.pageDown):
		return height
	case key.Matches(msg, keys.first):
		return -lines
	case key.Matches(msg, keys.last):
		return lines
	}
	return 0
}

// edit handles a key or a pasted text while the user types a filter.
func (m *model) edit(msg tea.Msg) {
	if pressed, ok := msg.(tea.KeyPressMsg); ok {
		switch pressed.String() {
		case "enter":
			m.filtering = false
			return
		case "esc":
			m.prompt.text, m.filtering = "", false
			m.applyFilter()
			return
		}
	}
	if m.prompt.update(msg) {
		m.applyFilter()
	}
}

// applyFilter applies the filter that the user has typed. While it is invalid, the last valid one stays in force.
func (m *model) applyFilter() {
	f, err := parseFilter(m.prompt.text)
	if m.filterErr = err; err == nil {
		m.table.change(func() { m.table.filter = f })
	}
}

// show changes to a page other than the details of another container.
func (m *model) show(p page) {
	m.page = p
	if p == tablePage {
		m.open, m.details, m.detailsErr = nil, nil, nil
	}
	m.body.top = 0
	m.layBody()
}

func (m *model) openSelected() tea.Cmd {
	m.open = m.table.selected()
	if m.open == nil {
		return nil
	}
	m.details, m.detailsErr = nil, nil
	m.page = detailsPage
	m.body.top = 0
	m.layBody()
	return m.readDetails()
}

func (m *model) readDetails() tea.Cmd {
	key, of := m.open.key, m.open.Container
	m.detailsAt = m.now()
	return command(func() tea.Msg {
		details, err := m.source.Details(m.ctx, of)
		return detailsDone{key, details, err}
	})
}

// refreshDetails reads the details of the open container again when they are old.
func (m *model) refreshDetails() tea.Cmd {
	if m.open == nil || m.paused || m.now().Sub(m.detailsAt) < detailsInterval {
		return nil
	}
	return m.readDetails()
}

func (m *model) handleDetails(msg detailsDone) {
	if m.open == nil || m.open.key != msg.key {
		return
	}
	if m.detailsErr = msg.err; msg.err == nil { // after an error, the last details stay
		m.details = &msg.details
	}
	m.layBody()
}

// copyList copies the list of the open container to the clipboard of the terminal.
func (m *model) copyList(evenIfUnseen bool) tea.Cmd {
	if m.details == nil {
		return nil
	}
	s := m.details.Summary
	switch {
	case !s.Started:
		m.notify("not copied: the needs are unknown")
		return nil
	case !s.StartSeen() && !evenIfUnseen:
		m.notify("not copied (C copies it anyway): " + s.StartUnseen() + ": the list may be too short for a start")
		return nil
	}
	text := "sent to the terminal's clipboard: " + dockerflags.Line(s.List())
	if n := len(m.details.Cautions); n > 0 {
		text = "sent to the terminal's clipboard. Read the notes: " + count(n, "applies", "apply")
	}
	m.notify(text)
	return tea.SetClipboard(dockerflags.Line(s.List()))
}

// refreshAlerts reads the alerts again when they are old.
func (m *model) refreshAlerts() tea.Cmd {
	if m.alerts.none || m.now().Sub(m.alertsAt) < alertsInterval {
		return nil
	}
	return m.readAlerts()
}

func (m *model) readAlerts() tea.Cmd {
	m.alertsAt = m.now()
	since := m.alerts.since(m.alertsAt)
	return command(func() tea.Msg {
		alerts, err := m.source.Alerts(m.ctx, since)
		return alertsDone{alerts, err}
	})
}

func (m *model) handleAlerts(msg alertsDone) {
	switch {
	case errors.Is(msg.err, ErrNoAlerts):
		m.alerts.none = true
	case m.paused:
		return
	case m.alerts.add(msg.alerts, msg.err):
		m.table.setAlerts(m.alerts.last)
	}
	if m.page == alertsPage {
		m.layBody()
	}
}

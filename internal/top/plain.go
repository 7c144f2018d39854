package top

import (
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/capmon/capmon/capability"
	"github.com/capmon/capmon/internal/overview"
	"github.com/capmon/capmon/internal/printable"
)

// RunPlain writes lines for pipes and screen readers. First it writes the totals and a line for each container, the
// gravest first. Then it writes a line for each change, until ctx ends. Each line is complete in itself. With once,
// RunPlain returns after the first lines. The error is a failed write or, with once, a failed read.
func RunPlain(ctx context.Context, source Source, options Options, once bool, out io.Writer) error {
	p := &plainPrinter{model: newModel(ctx, source, options), out: out}
	p.model.table.showEnded = true
	for {
		err := p.step(ctx)
		if once || p.err != nil {
			return errors.Join(err, p.err)
		}
		select {
		case <-ctx.Done():
			return nil
		case <-time.After(options.Interval):
		}
	}
}

// plainPrinter prints changes of a model as lines.
type plainPrinter struct {
	model *model
	out   io.Writer
	err   error // of a write

	began                 bool
	failed, lost, trouble string
	unread                string // why the alerts cannot be read
}

// step reads once, and prints what has changed.
func (p *plainPrinter) step(ctx context.Context) error {
	snapshot, err := p.model.source.Read(ctx)
	if ctx.Err() != nil {
		return nil
	}
	if err != nil {
		if p.failed != err.Error() {
			p.print("", "NOT UP TO DATE: "+safe(err.Error()))
			p.failed = err.Error()
		}
		return err
	}
	if p.failed != "" {
		p.failed = ""
		p.print("", p.model.source.Name()+" answers again")
	}
	before := p.model.table.byKey
	p.model.handleRead(readDone{snapshot: snapshot})
	p.printState()
	if !p.began {
		for _, text := range p.model.totalTexts() {
			p.print("", text)
		}
	}
	filter := p.model.table.filter
	for _, r := range p.model.table.rows {
		if old := before[r.key]; filter.matches(r) || old != nil && filter.matches(old) { // the change may end the match
			p.printRow(old, r)
		}
	}
	p.printGone(before)
	p.began = true
	p.printAlerts(ctx)
	return nil
}

func (p *plainPrinter) print(subject, text string) {
	if p.err != nil {
		return
	}
	at := p.model.now().Local().Format(time.TimeOnly)
	if subject != "" {
		text = subject + "  " + text
	}
	_, p.err = fmt.Fprintf(p.out, "%s  %s\n", at, text)
}

// printState prints losses and trouble when they change.
func (p *plainPrinter) printState() {
	if lost := strings.Join(p.model.lossTexts(), "; "); lost != p.lost {
		p.print("", "LOST, so unused capabilities may have been used: "+lost)
		p.lost = lost
	}
	if trouble := p.model.snapshot.Trouble; trouble != p.trouble {
		text := "capmon serve can save again"
		if trouble != "" {
			text = "capmon serve cannot save: " + safe(trouble)
		}
		p.print("", text)
		p.trouble = trouble
	}
}

// printRow prints what has changed in a row. old is nil if the row is new.
func (p *plainPrinter) printRow(old, r *row) {
	subject := printable.Word(bound(r.Title))
	switch {
	case old == nil && r.Running:
		p.print(subject, rowText(r, p.model.now()))
	case old == nil && p.began: // between two reads
		p.print(subject, "began and ended; "+rowText(r, p.model.now()))
	case old != nil:
		p.printChanges(subject, old, r)
	}
}

func (p *plainPrinter) printChanges(subject string, old, r *row) {
	for _, change := range []struct {
		before, after capability.Set
		text          string
	}{{old.Used, r.Used, "used"}, {old.Denied, r.Denied, "denied"}} {
		if added := change.after.Minus(change.before); !added.Empty() {
			p.print(subject, fmt.Sprintf("%s %s; now %s", change.text, names(added), countsText(r)))
		}
	}
	switch {
	case old.granted() != r.granted() || (old.Granted == nil) != (r.Granted == nil):
		p.print(subject, "other grants: "+rowText(r, p.model.now()))
	case old.Running && !r.Running:
		p.print(subject, "ended; "+countsText(r))
	case !old.Running && r.Running:
		p.print(subject, "started again; "+rowText(r, p.model.now()))
	}
	if r.Lost > old.Lost {
		p.print(subject, fmt.Sprintf("LOST %d checks", r.Lost-old.Lost))
	}
}

// printGone prints the running containers that the recording no longer has.
func (p *plainPrinter) printGone(before map[string]*row) {
	var gone []*row
	for key, old := range before {
		if p.model.table.byKey[key] == nil && old.Running && p.model.table.filter.matches(old) {
			gone = append(gone, old)
		}
	}
	slices.SortFunc(gone, func(one, other *row) int { return overview.CompareNames(one.Title, other.Title) })
	for _, old := range gone {
		p.print(printable.Word(bound(old.Title)), "ended; "+countsText(old))
	}
}

// printAlerts reads the alerts and prints the new ones. With a filter, it prints only alerts of containers that the
// filter selects, and of no container.
func (p *plainPrinter) printAlerts(ctx context.Context) {
	log := &p.model.alerts
	if log.none || p.model.now().Sub(p.model.alertsAt) < alertsInterval {
		return
	}
	p.model.alertsAt = p.model.now()
	if log.begin.IsZero() {
		log.begin = p.model.now().Add(-alertOverlap)
	}
	skipped := log.skipped
	alerts, err := p.model.source.Alerts(ctx, log.since(p.model.now()))
	if ctx.Err() != nil {
		return
	}
	if errors.Is(err, ErrNoAlerts) {
		log.none = true
		return
	}
	known := maps.Clone(log.seen)
	log.add(alerts, err)
	p.printUnread(log)
	if log.skipped && !skipped {
		p.print("", "there were too many alerts to read: some are missing here; capmon db alerts lists all")
	}
	selects := p.model.alertSelector()
	for _, one := range alerts {
		if _, printed := known[one.ID]; !printed && selects(one) {
			p.print("ALERT", fmt.Sprintf("%s  %s  %s", printable.Word(bound(string(one.Severity))), printable.Word(bound(one.Rule)), escape(bound(one.Summary))))
		}
	}
}

// printUnread prints why the alerts cannot be read when that changes.
func (p *plainPrinter) printUnread(log *alertLog) {
	unread := ""
	if log.err != nil {
		unread = safe(log.err.Error())
	}
	switch {
	case unread == p.unread || log.busy > 0 && unread == "":
		return
	case unread == "":
		p.print("", "the alerts can be read again")
	default:
		p.print("", "NOT UP TO DATE: cannot read the alerts: "+unread)
	}
	p.unread = unread
}

// rowText describes a container completely.
func rowText(r *row, now time.Time) string {
	parts := []string{"image unknown"}
	if r.Image != "" {
		parts[0] = printable.Word(bound(r.Image))
	}
	switch {
	case r.Granted == nil:
		parts = append(parts, "grants unknown")
	case r.Privileged:
		parts = append(parts, fmt.Sprintf("privileged, granted all %d", r.Granted.Len()))
	default:
		parts = append(parts, fmt.Sprintf("granted %d", r.Granted.Len()))
	}
	parts = append(parts, setText("used", r.Used))
	switch {
	case r.Granted == nil:
	case r.Row().Certain():
		parts = append(parts, setText("unused", r.Unused))
	default:
		parts = append(parts, setText("perhaps unused", r.Unused))
	}
	parts = append(parts, setText("denied", r.Denied))
	if use := r.LastUse; use != nil {
		word := "last use"
		if use.Denied {
			word = "last denied"
		}
		parts = append(parts, fmt.Sprintf("%s %s %s ago", word, use.Capability, age(use.Time, now)))
	}
	return strings.Join(parts, ", ")
}

// setText returns a number of capabilities and their names.
func setText(word string, set capability.Set) string {
	if set.Empty() {
		return word + " 0"
	}
	return fmt.Sprintf("%s %d (%s)", word, set.Len(), names(set))
}

// names returns the names of capabilities, the gravest first.
func names(set capability.Set) string {
	var all []string
	for _, c := range overview.Gravest(set) {
		all = append(all, c.String())
	}
	return strings.Join(all, " ")
}

func countsText(r *row) string {
	if r.Granted == nil {
		return fmt.Sprintf("%d used, %d denied", r.Used.Len(), r.Denied.Len())
	}
	return fmt.Sprintf("%d used, %d unused of %d granted, %d denied", r.Used.Len(), r.Unused.Len(), r.Granted.Len(), r.Denied.Len())
}

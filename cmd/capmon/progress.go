package main

import (
	"context"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/capmon/capmon/capability"
	"github.com/capmon/capmon/internal/printable"
	"github.com/capmon/capmon/internal/profile"
	"github.com/capmon/capmon/internal/report"
)

const (
	// statusInterval is the time between two changes of the status line on a terminal.
	statusInterval = time.Second
	// plainInterval is the time between two lines of progress where capmon cannot overwrite a line.
	plainInterval = time.Minute
	// plainWidth limits the lines of progress there, because names in them can have any length.
	plainWidth = 200
	// readShare limits how often progress reads a recording: to at most 1/readShare of the time.
	readShare = 20
)

// showStatus shows text as the status line of a terminal until ctx ends.
func showStatus(ctx context.Context, line *statusLine, text func(now time.Time) string) {
	defer line.show("")
	everyInterval(ctx, statusInterval, func(now time.Time) { line.show(text(now)) })
}

// everyInterval calls do now and then after each interval until ctx ends.
func everyInterval(ctx context.Context, interval time.Duration, do func(now time.Time)) {
	tick := time.NewTicker(interval)
	defer tick.Stop()
	for ctx.Err() == nil {
		do(time.Now())
		select {
		case <-ctx.Done():
		case <-tick.C:
		}
	}
}

// showSlow does what text describes. If that takes longer than statusInterval, line shows the text and the time so far.
// line is nil if capmon cannot overwrite a line.
func showSlow(line *statusLine, text string, do func() error) error {
	if line == nil {
		return do()
	}
	ctx, cancel := context.WithCancel(context.Background())
	begun, ended := time.Now(), make(chan struct{})
	go func() {
		defer close(ended)
		showStatus(ctx, line, func(now time.Time) string {
			if now.Sub(begun) < statusInterval {
				return ""
			}
			return fmt.Sprintf("%s: %s so far", text, now.Sub(begun).Truncate(time.Second))
		})
	}()
	defer func() {
		cancel()
		<-ended
	}()
	return do()
}

// recordingProgress describes how far a recording is, and what it has found so far.
type recordingProgress struct {
	read     func() (profile.Profile, error)
	selected func(profile.Run) bool
	begun    time.Time
	limit    time.Duration // 0: until Ctrl-C

	found    string // what the last read has found
	nextRead time.Time
}

// waitShowing waits until ctx ends. On a terminal, it shows the progress as a status line. Elsewhere, it writes a line
// every minute, because a CI job without output for some minutes looks dead. It writes to end how to end the recording.
func (r *recordingProgress) waitShowing(ctx context.Context, end, progress io.Writer) {
	if onTerminal(end) {
		fmt.Fprintln(end, "capmon: recording; press Ctrl-C for the report")
	}
	if line := statusLineOf(progress); line != nil {
		showStatus(ctx, line, r.text)
		return
	}
	everyInterval(ctx, plainInterval, func(now time.Time) {
		if now.Sub(r.begun) >= plainInterval {
			fmt.Fprintln(progress, "capmon:", cutWords(r.text(now), plainWidth))
		}
	})
}

// text returns the progress as one line that is safe for a terminal.
func (r *recordingProgress) text(now time.Time) string {
	if !now.Before(r.nextRead) {
		r.found = r.readFound()
		end := time.Now()
		r.nextRead = end.Add(readShare * end.Sub(now))
	}
	return timeText(now.Sub(r.begun), r.limit) + ": " + r.found
}

func (r *recordingProgress) readFound() string {
	p, err := r.read()
	if err != nil {
		return printable.Text(err.Error())
	}
	return foundText(p, r.selected)
}

// timeText returns how long a recording has run or, with a limit, how long it will still run.
func timeText(elapsed, limit time.Duration) string {
	if limit == 0 {
		return "recorded " + shortDuration(elapsed.Truncate(time.Second))
	}
	left := max(0, limit-elapsed+time.Second-1).Truncate(time.Second) // never 0s before the end
	return fmt.Sprintf("%s left of %s", shortDuration(left), shortDuration(limit))
}

// shortDuration formats a duration without the units that are 0: 10m, not 10m0s.
func shortDuration(d time.Duration) string {
	text := d.String()
	if strings.HasSuffix(text, "m0s") {
		text = strings.TrimSuffix(text, "0s")
	}
	if strings.HasSuffix(text, "h0m") {
		text = strings.TrimSuffix(text, "0m")
	}
	return text
}

// foundText returns what a recording has found so far in the selected runs. The text is safe for a terminal.
func foundText(p profile.Profile, selected func(profile.Run) bool) string {
	var runs []profile.Run
	containers := make(map[string]bool)
	for _, run := range p.Runs {
		if selected(run) {
			runs = append(runs, run)
			containers[run.Container.ID] = true
		}
	}
	if len(runs) == 0 {
		return "no container yet"
	}
	summaries := profile.Summaries(profile.New(runs...))
	var parts []string
	if lost := lostText(summaries); lost != "" { // first, so that a narrow terminal shows it
		parts = append(parts, lost)
	}
	parts = append(parts, checksText(len(containers), summaries), usedText(summaries))
	if newest := newestUse(summaries); newest != "" {
		parts = append(parts, "newest: "+newest)
	}
	return strings.Join(parts, "; ")
}

// lostText returns what capmon could not record, in the words of a report's heading; "" if it recorded everything.
func lostText(summaries []profile.Summary) string {
	var lost uint64
	incomplete := false
	for _, s := range summaries {
		lost += s.Lost
		incomplete = incomplete || len(s.Incomplete) > 0
	}
	switch {
	case lost > 0:
		return fmt.Sprintf("%d LOST", lost)
	case incomplete:
		return "INCOMPLETE"
	}
	return ""
}

func checksText(containers int, summaries []profile.Summary) string {
	var checks uint64
	for _, s := range summaries {
		checks += s.Checks
	}
	return plural(uint64(containers), "container") + ", " + plural(checks, "check")
}

// usedText returns how many capabilities were used: for a single container, also of how many granted ones.
func usedText(summaries []profile.Summary) string {
	var used, denied capability.Set
	for _, s := range summaries {
		used = used.Union(s.Needs()).Union(s.Spared())
		denied = denied.Union(s.Denied())
	}
	text := "used so far: " + capabilitiesText(used)
	if granted, known := summaries[0].Grants.Set(); len(summaries) == 1 && known {
		text = fmt.Sprintf("used so far: %d of %d granted", used.Intersect(granted).Len(), granted.Len())
	}
	if !denied.Empty() {
		text += fmt.Sprintf(", %d denied", denied.Len())
	}
	return text
}

func capabilitiesText(set capability.Set) string {
	switch set.Len() {
	case 0:
		return "no capability"
	case 1:
		return "1 capability"
	}
	return fmt.Sprintf("%d capabilities", set.Len())
}

// newestUse returns the use of a capability that was found last; "" if there is none.
func newestUse(summaries []profile.Summary) string {
	var newest profile.UsePattern
	var in profile.Summary
	for _, s := range summaries {
		for _, use := range s.Uses {
			if use.Class.Need() && use.First.After(newest.First) {
				newest, in = use, s
			}
		}
	}
	if newest.First.IsZero() {
		return ""
	}
	text := newest.Capability.String()
	if program := report.Program(newest); program != "" {
		text += " by " + printable.Word(program)
	}
	if len(summaries) > 1 {
		text += " in " + printable.Word(in.Container.Title())
	}
	return text
}

package sink

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/coreos/go-systemd/v22/journal"

	"github.com/capmon/capmon/internal/alert"
)

// Journald is systemd's journal on this host.
type Journald struct{}

func (j Journald) open() (transport, error) { return j, nil }

func (j Journald) resolved() (Destination, error) { return j, nil }

func (Journald) maxBatch() int { return 1 }
func (Journald) close() error  { return nil }

// send sends a message to journald. journald does not confirm that it received a message.
func (Journald) send(ctx context.Context, messages []Message) error {
	m := messages[0]
	fields := map[string]string{"SYSLOG_IDENTIFIER": "capmon", "CAPMON_MESSAGE": string(m.encode())}
	for _, f := range m.fields() {
		fields["CAPMON_"+strings.ToUpper(f.name)] = f.value
	}
	sent := make(chan error, 1)
	go func() { sent <- journal.Send(m.Summary, journalPriority(m.Severity), fields) }() // blocks until journald reads the message
	select {
	case err := <-sent:
		if err != nil {
			return fmt.Errorf("journald: %w", err)
		}
		return nil
	case <-ctx.Done():
		return errors.New("journald does not read the message")
	}
}

func journalPriority(severity alert.Severity) journal.Priority {
	switch severity {
	case alert.Critical:
		return journal.PriCrit
	case alert.Warning:
		return journal.PriWarning
	}
	return journal.PriInfo
}

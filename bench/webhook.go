package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"time"
)

// webhook receives the alerts of a rule about raw sockets.
type webhook struct {
	rules     string // a file with rules that deliver alerts to this server
	directory string
	server    *http.Server
	got       chan arrival
}

// arrival is a use and the time when its alert arrived.
type arrival struct {
	use
	at time.Time
}

// use has the fields of a use or an alert that bench reads.
type use struct {
	Time      time.Time
	Container struct{ Name string }
	Use       *use // of an alert
}

// parseUse parses a line of capmon watch or the body of a webhook request.
func parseUse(text []byte) (use, error) {
	var parsed use
	if err := json.Unmarshal(text, &parsed); err != nil {
		return use{}, fmt.Errorf("reading the output of capmon watch: %w", err)
	}
	if parsed.Use != nil {
		return *parsed.Use, nil
	}
	return parsed, nil
}

// newWebhook starts a server and writes two files of rules: with w.rules, capmon delivers alerts to the server; with
// printed, capmon only prints them.
func newWebhook() (_ *webhook, printed string, err error) {
	directory, err := os.MkdirTemp("", "capmon-bench")
	if err != nil {
		return nil, "", err
	}
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, "", errors.Join(err, os.RemoveAll(directory))
	}
	w := &webhook{rules: filepath.Join(directory, "delivered.yaml"), directory: directory, got: make(chan arrival, 1024)}
	w.server = &http.Server{Handler: w, ReadHeaderTimeout: time.Minute}
	go func() { _ = w.server.Serve(listener) }() // until end
	const rules = "rules: [{name: raw, raw-socket: true}]\n"
	sink := fmt.Sprintf("sinks: [{type: webhook, url: \"http://%s\"}]\nspool: {directory: %q}\n", listener.Addr(), filepath.Join(directory, "spool"))
	printed = filepath.Join(directory, "printed.yaml")
	err = errors.Join(os.WriteFile(printed, []byte(rules), 0o600), os.WriteFile(w.rules, []byte(rules+sink), 0o600))
	return w, printed, err
}

func (w *webhook) ServeHTTP(_ http.ResponseWriter, request *http.Request) {
	body, err := io.ReadAll(request.Body)
	at := time.Now()
	if err != nil {
		return
	}
	if parsed, err := parseUse(body); err == nil {
		w.got <- arrival{parsed, at}
	}
}

// next returns the milliseconds from a use of a container to the arrival of its alert.
func (w *webhook) next(ctx context.Context, name string) (float64, error) {
	for {
		select {
		case one := <-w.got:
			if one.Container.Name == name {
				return milliseconds(one.at.Sub(one.Time)), nil
			}
		case <-ctx.Done():
			return 0, ctx.Err()
		}
	}
}

func (w *webhook) end() error { return errors.Join(w.server.Close(), os.RemoveAll(w.directory)) }

package top

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"net/http"
	"net/url"
	"strings"
	"syscall"
	"time"

	"github.com/capmon/capmon/internal/alert"
	"github.com/capmon/capmon/internal/api"
	"github.com/capmon/capmon/internal/daemon"
	"github.com/capmon/capmon/internal/profile"
)

const (
	// requestTimeout is the time limit of a request to capmon serve.
	requestTimeout = 10 * time.Second
	// maxBody is the maximum size of a response in bytes.
	maxBody = 64 << 20
)

// DaemonSource reads from a capmon serve at a unix socket.
type DaemonSource struct {
	socket string
	client *http.Client
}

// NewDaemonSource returns the source of the capmon serve at a socket. It does not connect yet.
func NewDaemonSource(socket string) *DaemonSource {
	dial := func(ctx context.Context, _, _ string) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, "unix", socket)
	}
	return &DaemonSource{socket, &http.Client{Timeout: requestTimeout, Transport: &http.Transport{DialContext: dial}}}
}

// Name implements [Source].
func (d *DaemonSource) Name() string { return "capmon serve" }

// NotRunning reports whether an error of [DaemonSource.Read] means that no process listens at the socket.
func NotRunning(err error) bool {
	return errors.Is(err, fs.ErrNotExist) || errors.Is(err, syscall.ECONNREFUSED)
}

// Read implements [Source].
func (d *DaemonSource) Read(ctx context.Context) (Snapshot, error) {
	var state daemon.State
	if _, err := d.get(ctx, "state", nil, &state); err != nil {
		return Snapshot{}, err
	}
	snapshot := Snapshot{
		Engine: state.Engine, Hook: state.Hook, Losses: state.Losses, LastLoss: state.LastLoss, Trouble: state.Trouble,
		RulesApply: !state.ReportedUntil.IsZero(),
	}
	_, err := d.get(ctx, "containers", nil, &snapshot.Containers)
	if status := (*statusError)(nil); errors.As(err, &status) && status.code == http.StatusNotFound {
		err = errors.New("this capmon serve is an earlier version, which capmon top cannot read: restart capmon serve, or use --record")
	}
	return snapshot, err
}

// Details implements [Source].
func (d *DaemonSource) Details(ctx context.Context, c api.Container) (Details, error) {
	query := selectionOf(c)
	query.Set("unsaved", "true")
	var p profile.Profile
	header, err := d.get(ctx, "profile", query, &p)
	if err != nil {
		return Details{}, err
	}
	var cautions []string
	if unknown := header.Get("X-Capmon-Unknown"); unknown != "" {
		cautions = append(cautions, "no engine has described some other containers, which may be further runs of this one: "+unknown)
	}
	for _, pruned := range header.Values("X-Capmon-Pruned") {
		cautions = append(cautions, "the database no longer has all runs that may belong to this container: "+pruned)
	}
	return detailsOf(p, c, cautions...)
}

// selectionOf returns the parameters that select all runs with the same list as a container: see profile.Summaries.
func selectionOf(c api.Container) url.Values {
	switch {
	case c.Unconfirmed != "" || c.Name == "":
		return url.Values{"container": {c.ID}}
	case c.Service != "":
		return url.Values{"label": {"com.docker.swarm.service.name=" + c.Service}}
	}
	return url.Values{"container": {c.ID, escapePattern(c.Name)}}
}

// escapePattern returns the pattern that matches only a name.
func escapePattern(name string) string {
	return strings.NewReplacer(`\`, `\\`, `*`, `\*`, `?`, `\?`, `[`, `\[`).Replace(name)
}

// Alerts implements [Source].
func (d *DaemonSource) Alerts(ctx context.Context, since time.Time) (alerts []alert.Alert, err error) {
	_, err = d.get(ctx, "alerts", url.Values{"since": {since.UTC().Format(time.RFC3339)}}, &alerts)
	return alerts, err
}

// statusError is an error that capmon serve sends as a response.
type statusError struct {
	code   int
	detail string
}

func (e *statusError) Error() string { return "capmon serve reports an error: " + e.detail }

// get sends a request to an endpoint, and reads the JSON of the response into value.
func (d *DaemonSource) get(ctx context.Context, endpoint string, query url.Values, value any) (http.Header, error) {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://capmon/api/v1/"+endpoint+"?"+query.Encode(), http.NoBody)
	if err != nil {
		return nil, err
	}
	response, err := d.client.Do(request)
	if err != nil {
		return nil, fmt.Errorf("capmon serve at %s does not answer: %w", d.socket, cause(err))
	}
	defer response.Body.Close()
	body, err := io.ReadAll(io.LimitReader(response.Body, maxBody))
	if err != nil {
		return nil, fmt.Errorf("reading the answer of capmon serve: %w", cause(err))
	}
	if response.StatusCode != http.StatusOK {
		var problem struct{ Detail string }
		if json.Unmarshal(body, &problem) != nil || problem.Detail == "" {
			problem.Detail = response.Status
		}
		return nil, &statusError{response.StatusCode, problem.Detail}
	}
	if err := json.Unmarshal(body, value); err != nil {
		return nil, fmt.Errorf("reading the answer of capmon serve: %w", err)
	}
	return response.Header, nil
}

// cause returns the cause of an error of the HTTP client. The URL and the address in the error mean nothing for a unix
// socket.
func cause(err error) error {
	var of *url.Error
	if errors.As(err, &of) {
		err = of.Err
	}
	var op *net.OpError
	if errors.As(err, &op) {
		err = op.Err
	}
	var number syscall.Errno
	if errors.As(err, &number) {
		return number
	}
	return err
}

package container

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httputil"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
)

// Proxy stands between a command and the engine, so that the containers which
// the command creates or starts are known exactly, however short they live and
// whatever others start at the same time.
type Proxy struct {
	directory string
	server    *http.Server
	cancel    context.CancelFunc
	done      chan struct{}
}

// NewProxy listens on a socket of its own, which only this user can use. started
// is called with the ID of each container that is created or started through it,
// while the engine's reply, or the request to start, is held back: the container
// cannot be gone before started returns.
func NewProxy(docker *Docker, started func(ctx context.Context, id string)) (*Proxy, error) {
	directory, err := os.MkdirTemp("", "capmon-")
	if err != nil {
		return nil, fmt.Errorf("making a directory for the Docker proxy: %w", err)
	}
	socket := filepath.Join(directory, "docker.sock")
	listener, err := net.Listen("unix", socket)
	if err != nil {
		os.RemoveAll(directory)
		return nil, fmt.Errorf("listening for the command's Docker client: %w", err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	p := &Proxy{directory: directory, cancel: cancel, done: make(chan struct{})}
	p.server = &http.Server{
		Handler:     &handler{docker, started, forwarder(docker, started)},
		BaseContext: func(net.Listener) context.Context { return ctx },
		ErrorLog:    log.New(io.Discard, "", 0), // clients see what fails
	}
	go func() {
		defer close(p.done)
		_ = p.server.Serve(listener) // ends with ErrServerClosed
	}()
	return p, nil
}

// Host is the proxy's address in the form of DOCKER_HOST.
func (p *Proxy) Host() string { return "unix://" + filepath.Join(p.directory, "docker.sock") }

// Close ends all connections and removes the socket. It may be called again.
func (p *Proxy) Close() error {
	p.cancel() // upgraded connections end with their request's context
	err := p.server.Close()
	<-p.done
	return errors.Join(err, os.RemoveAll(p.directory))
}

// The requests that make a container run, with or without the API's version in
// front.
var (
	createPath = regexp.MustCompile(`^(?:/v[0-9.]+)?/containers/create$`)
	startPath  = regexp.MustCompile(`^(?:/v[0-9.]+)?/containers/([^/]+)/(?:start|restart)$`)
)

type handler struct {
	docker  *Docker
	started func(context.Context, string)
	forward http.Handler
}

func (h *handler) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if match := startPath.FindStringSubmatch(r.URL.Path); match != nil && r.Method == http.MethodPost {
		if info, err := h.docker.Inspect(r.Context(), match[1]); err == nil {
			h.started(r.Context(), info.ID)
		} // else the engine tells the client what is wrong
	}
	h.forward.ServeHTTP(w, r)
}

func forwarder(docker *Docker, started func(context.Context, string)) http.Handler {
	dial := docker.client.Dialer()
	return &httputil.ReverseProxy{
		Rewrite: func(r *httputil.ProxyRequest) {
			r.Out.URL.Scheme, r.Out.URL.Host = "http", "docker"
			r.Out.Host = r.In.Host
		},
		// The client's dialer speaks TLS or ssh where the endpoint wants it.
		Transport: &http.Transport{
			DialContext:        func(ctx context.Context, _, _ string) (net.Conn, error) { return dial(ctx) },
			DisableCompression: true,
		},
		FlushInterval: -1, // logs and events come as they are made
		ModifyResponse: func(r *http.Response) error {
			if r.StatusCode != http.StatusCreated || !createPath.MatchString(r.Request.URL.Path) {
				return nil
			}
			return created(r, started)
		},
		ErrorHandler: refuse,
		ErrorLog:     log.New(io.Discard, "", 0),
	}
}

// created reads the new container's ID from the engine's reply and puts the
// reply back.
func created(r *http.Response, started func(context.Context, string)) error {
	body, err := io.ReadAll(r.Body)
	r.Body.Close()
	if err != nil {
		return fmt.Errorf("reading the engine's reply: %w", err)
	}
	r.Body = io.NopCloser(bytes.NewReader(body))
	r.ContentLength = int64(len(body))
	r.Header.Set("Content-Length", strconv.Itoa(len(body)))
	var reply struct{ Id string } //nolint:revive // Docker's spelling
	if json.Unmarshal(body, &reply) == nil && reply.Id != "" {
		started(r.Request.Context(), reply.Id)
	}
	return nil
}

// refuse tells a client in the engine's own form that the engine is away.
func refuse(w http.ResponseWriter, r *http.Request, err error) {
	if r.Context().Err() != nil {
		return // the client has gone
	}
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(http.StatusBadGateway)
	_ = json.NewEncoder(w).Encode(map[string]string{"message": "the Docker engine does not answer: " + err.Error()})
}

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
	"net/url"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"sync"

	"github.com/docker/docker/client"
)

// Proxy stands between a command and the engine, so that the containers which
// the command creates or starts are known exactly, however short they live and
// whatever others start at the same time. Everything else passes unchanged: any
// API version, streams, attached terminals, BuildKit's sessions.
//
// Containers that the engine makes by itself are not told of: those of the
// classic builder's RUN steps and of swarm services.
type Proxy struct {
	docker    *Docker
	base      string // of the engine's paths, mostly ""
	started   func(ctx context.Context, id string)
	directory string
	server    *http.Server
	transport *http.Transport
	forward   http.Handler
	close     func() error

	ctx      context.Context // ends with Close
	reported sync.Map        // from ID to the function that reports it once

	mu       sync.Mutex
	closed   bool
	handlers sync.WaitGroup // requests under way; Add under mu, unless closed
}

// NewProxy listens on a socket of its own, which only this user can use. started
// is called once for each container that is created, started or restarted through
// it, with its full ID: while the engine's reply to the creation, or the request
// to start an older one, is held back, so that the container cannot be gone before
// started returns. Calls for different containers may overlap. ctx ends with Close,
// which waits for calls under way.
func NewProxy(docker *Docker, started func(ctx context.Context, id string)) (*Proxy, error) {
	host, err := client.ParseHostURL(docker.client.DaemonHost())
	if err != nil {
		return nil, fmt.Errorf("reading the engine's address: %w", err)
	}
	directory, err := os.MkdirTemp("", "capmon-")
	if err != nil {
		return nil, fmt.Errorf("making a directory for the Docker proxy: %w", err)
	}
	listener, err := listen(filepath.Join(directory, socketName))
	if err != nil {
		return nil, errors.Join(fmt.Errorf("listening for the command's Docker client: %w", err), os.RemoveAll(directory))
	}
	ctx, cancel := context.WithCancel(context.Background())
	p := &Proxy{
		docker:    docker,
		base:      strings.TrimSuffix(host.Path, "/"),
		started:   started,
		directory: directory,
		ctx:       ctx,
		transport: &http.Transport{
			// The client's dialer speaks TLS or ssh where the endpoint wants it.
			DialContext:        func(ctx context.Context, _, _ string) (net.Conn, error) { return docker.client.Dialer()(ctx) },
			DisableCompression: true,
		},
	}
	p.forward = &httputil.ReverseProxy{
		Rewrite:        func(r *httputil.ProxyRequest) { p.aim(r.Out, r.In) },
		Transport:      p.transport,
		FlushInterval:  -1, // logs and events come as they are made
		ModifyResponse: p.inspectReply,
		ErrorHandler:   p.refuse,
		ErrorLog:       log.New(io.Discard, "", 0), // clients see what fails
	}
	p.server = &http.Server{
		Handler:     http.HandlerFunc(p.serve),
		BaseContext: func(net.Listener) context.Context { return ctx },
		ErrorLog:    log.New(io.Discard, "", 0),
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		_ = p.server.Serve(listener) // ends with ErrServerClosed
	}()
	p.close = sync.OnceValue(func() error {
		p.mu.Lock()
		p.closed = true
		p.mu.Unlock()
		cancel() // ends requests and streams
		err := p.server.Close()
		<-done
		p.handlers.Wait()
		p.transport.CloseIdleConnections()
		return errors.Join(err, os.RemoveAll(directory))
	})
	return p, nil
}

const socketName = "docker.sock"

// longestSocket is how long a socket's path may be, sun_path less the final NUL.
const longestSocket = 107

func listen(socket string) (net.Listener, error) {
	if len(socket) > longestSocket {
		return nil, fmt.Errorf("%s is too long for a unix socket; set TMPDIR to a shorter directory", socket)
	}
	return net.Listen("unix", socket)
}

// Host is the proxy's address in the form of DOCKER_HOST.
func (p *Proxy) Host() string { return "unix://" + filepath.Join(p.directory, socketName) }

// Close ends all requests and streams and removes the socket and its directory.
// It may be called again, with the same result. The containers stay as they are.
func (p *Proxy) Close() error { return p.close() }

// The requests that make a container run, and those which turn the connection
// into a plain stream, with or without the API's version in front. The engine
// takes slashes in a name: a link's (web/db).
var (
	createPath = regexp.MustCompile(`^(?:/v[0-9.]+)?/containers/create$`)
	startPath  = regexp.MustCompile(`^(?:/v[0-9.]+)?/containers/(.+)/(?:start|restart)$`)
	streamPath = regexp.MustCompile(`^(?:/v[0-9.]+)?(?:/containers/.+/attach|/containers/.+/attach/ws|/exec/[^/]+/start|/session|/grpc)$`)
)

func (p *Proxy) serve(w http.ResponseWriter, r *http.Request) {
	p.mu.Lock()
	if p.closed {
		p.mu.Unlock()
		panic(http.ErrAbortHandler) // the connection is being closed
	}
	p.handlers.Add(1)
	p.mu.Unlock()
	defer p.handlers.Done()

	if match := startPath.FindStringSubmatch(r.URL.Path); match != nil && r.Method == http.MethodPost {
		if info, err := p.docker.Inspect(r.Context(), match[1]); err == nil {
			p.report(info.ID)
		} // else the engine tells the client what is wrong
	}
	if streamPath.MatchString(r.URL.Path) {
		p.stream(w, r)
		return
	}
	// A build or a load tells its progress while it is still being sent.
	_ = http.NewResponseController(w).EnableFullDuplex()
	p.forward.ServeHTTP(w, r)
}

// report calls started for a container that has not been reported yet, and waits
// for a call under way. A client's end does not cut it short: its container is there.
func (p *Proxy) report(id string) {
	report, _ := p.reported.LoadOrStore(id, sync.OnceFunc(func() { p.started(p.ctx, id) }))
	report.(func())()
}

// aim makes out the same request to the engine as in was to the proxy.
func (p *Proxy) aim(out, in *http.Request) {
	out.URL = &url.URL{Scheme: "http", Host: "docker", Path: p.base + in.URL.Path, RawQuery: in.URL.RawQuery}
	if in.URL.RawPath != "" {
		out.URL.RawPath = p.base + in.URL.RawPath
	}
	out.Host = in.Host
	if in.Header["User-Agent"] == nil {
		out.Header["User-Agent"] = []string{""} // or Go would add its own
	}
}

// inspectReply reads a new container's ID from the engine's reply, and puts the
// reply back.
func (p *Proxy) inspectReply(r *http.Response) error {
	path := strings.TrimPrefix(r.Request.URL.Path, p.base)
	if r.Request.Method != http.MethodPost || r.StatusCode != http.StatusCreated || !createPath.MatchString(path) {
		return nil
	}
	body, err := io.ReadAll(r.Body)
	_ = r.Body.Close()
	if err != nil {
		return fmt.Errorf("reading the engine's reply: %w", err)
	}
	r.Body = io.NopCloser(bytes.NewReader(body))
	r.ContentLength, r.TransferEncoding = int64(len(body)), nil
	r.Header.Set("Content-Length", strconv.Itoa(len(body)))
	var reply struct{ ID string }
	if json.Unmarshal(body, &reply) == nil && reply.ID != "" {
		p.report(reply.ID)
	}
	return nil
}

// refuse tells a client in the engine's own form that the engine is away.
func (p *Proxy) refuse(w http.ResponseWriter, r *http.Request, err error) {
	if r.Context().Err() != nil {
		panic(http.ErrAbortHandler) // the client has gone, or Close was called
	}
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(http.StatusBadGateway)
	message := fmt.Sprintf("capmon cannot reach Docker at %s: %v", p.docker.Endpoint(), err)
	_ = json.NewEncoder(w).Encode(map[string]string{"message": message})
}

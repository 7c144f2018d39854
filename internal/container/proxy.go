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
	"slices"
	"strconv"
	"strings"
	"sync"

	"github.com/docker/docker/client"
)

// Proxy is an HTTP proxy between a command and the engine. With it, capmon knows exactly which containers the command
// creates or starts, even if they end at once or others start containers at the same time. All other traffic passes
// unchanged: any API version, streams, attached terminals, BuildKit's sessions.
//
// Proxy also knows Podman's own API, which podman --remote uses, with pods and podman kube play.
//
// Proxy does not report containers that the engine creates by itself: for the RUN steps of the classic builder and for
// swarm services.
type Proxy struct {
	docker    *Docker
	base      string // prefix of the engine's paths, mostly ""
	started   func(ctx context.Context, id string)
	directory string
	server    *http.Server
	transport *http.Transport
	forward   http.Handler
	close     func() error

	ctx      context.Context // ends with Close
	reported sync.Map        // by ID, the function that reports the container once

	mu       sync.Mutex
	closed   bool
	handlers sync.WaitGroup // running requests; Add under mu, unless closed
}

// NewProxy starts a proxy on a socket of its own, which only this user can use. started is called once with the full ID
// of each container that is created, started or restarted through the proxy. The proxy holds back the engine's reply to
// the creation, or the request to start an older container, until started returns, so the container cannot be removed
// before. Calls for different containers may overlap. The ctx of started ends with Close, which waits for running
// calls.
func NewProxy(docker *Docker, started func(ctx context.Context, id string)) (*Proxy, error) {
	host, err := client.ParseHostURL(docker.client.DaemonHost())
	if err != nil {
		return nil, fmt.Errorf("reading the engine's address: %w", err)
	}
	directory, err := os.MkdirTemp("", "capmon-")
	if err != nil {
		return nil, fmt.Errorf("creating a directory for the Docker proxy: %w", err)
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
			// The client's dialer uses TLS or ssh if the endpoint needs it.
			DialContext:        func(ctx context.Context, _, _ string) (net.Conn, error) { return docker.client.Dialer()(ctx) },
			DisableCompression: true,
		},
	}
	p.forward = &httputil.ReverseProxy{
		Rewrite:        func(r *httputil.ProxyRequest) { p.setTarget(r.Out, r.In) },
		Transport:      p.transport,
		FlushInterval:  -1, // pass on logs and events immediately
		ModifyResponse: p.inspectReply,
		ErrorHandler:   p.replyUnreachable,
		ErrorLog:       log.New(io.Discard, "", 0), // clients get the errors
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

// longestSocket is the longest path of a socket: the size of sun_path less the final NUL.
const longestSocket = 107

func listen(socket string) (net.Listener, error) {
	if len(socket) > longestSocket {
		return nil, fmt.Errorf("%s is too long for a unix socket; set TMPDIR to a shorter directory", socket)
	}
	return net.Listen("unix", socket)
}

// Host returns the proxy's address in the form of DOCKER_HOST.
func (p *Proxy) Host() string { return "unix://" + filepath.Join(p.directory, socketName) }

// Close ends all requests and streams, and removes the socket and its directory. It may be called more than once, with
// the same result. It does not affect the containers.
func (p *Proxy) Close() error { return p.close() }

// Requests that start a container, and requests that turn the connection into a plain stream, with or without the API's
// version as prefix. The engine accepts slashes in a name, for names of links (web/db).
var (
	createPath = regexp.MustCompile(`^(?:/v[0-9.]+)?(?:/libpod)?/containers/create$`)
	startPath  = regexp.MustCompile(`^(?:/v[0-9.]+)?(?:/libpod)?/containers/(.+)/(?:start|restart)$`)
	streamPath = regexp.MustCompile(`^(?:/v[0-9.]+)?(?:/libpod)?(?:/containers/.+/attach|/containers/.+/attach/ws|/exec/[^/]+/start|/session|/grpc)$`)
)

// Requests of Podman's own API that create or start the containers of pods.
var (
	createPodPath = regexp.MustCompile(`^(?:/v[0-9.]+)?/libpod/pods/create$`)
	startPodPath  = regexp.MustCompile(`^(?:/v[0-9.]+)?/libpod/pods/(.+)/(?:start|restart)$`)
	playPath      = regexp.MustCompile(`^(?:/v[0-9.]+)?/libpod/(?:play/kube|kube/play)$`)
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
		} // otherwise the engine reports the error to the client
	}
	if match := startPodPath.FindStringSubmatch(r.URL.Path); match != nil && r.Method == http.MethodPost {
		p.reportPod(r.Context(), match[1])
	}
	if streamPath.MatchString(r.URL.Path) {
		p.stream(w, r)
		return
	}
	// For a build or a load, the engine sends the progress while the client still sends the request.
	_ = http.NewResponseController(w).EnableFullDuplex()
	p.forward.ServeHTTP(w, r)
}

// report calls started for a container that has not been reported yet, and waits for a running call. The call continues
// if the client disconnects, because the container exists.
func (p *Proxy) report(id string) {
	report, _ := p.reported.LoadOrStore(id, sync.OnceFunc(func() { p.started(p.ctx, id) }))
	report.(func())()
}

// reportPod reports the containers of a pod of Podman. If Podman does not report them, it also reports that to the
// client.
func (p *Proxy) reportPod(ctx context.Context, pod string) {
	members, err := p.docker.podMembers(ctx, pod)
	if err != nil {
		return
	}
	for _, id := range members {
		p.report(id)
	}
}

// setTarget makes out the request to the engine that in was to the proxy.
func (p *Proxy) setTarget(out, in *http.Request) {
	out.URL = &url.URL{Scheme: "http", Host: "docker", Path: p.base + in.URL.Path, RawQuery: in.URL.RawQuery}
	if in.URL.RawPath != "" {
		out.URL.RawPath = p.base + in.URL.RawPath
	}
	out.Host = in.Host
	if in.Header["User-Agent"] == nil {
		out.Header["User-Agent"] = []string{""} // otherwise Go would add its own
	}
}

// inspectReply reads the IDs of new containers from the engine's reply, and restores the reply's body.
func (p *Proxy) inspectReply(r *http.Response) error {
	report := p.reporter(r)
	if report == nil {
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
	report(body)
	return nil
}

// reporter returns the function that reports the new containers in the body of a reply, or nil if a reply has none.
func (p *Proxy) reporter(r *http.Response) func(body []byte) {
	path := strings.TrimPrefix(r.Request.URL.Path, p.base)
	switch created := r.StatusCode == http.StatusCreated; {
	case r.Request.Method != http.MethodPost:
		return nil
	case created && createPath.MatchString(path):
		return p.reportCreated
	case created && createPodPath.MatchString(path):
		return p.reportCreatedPod
	case r.StatusCode == http.StatusOK && playPath.MatchString(path):
		return p.reportPlayed
	}
	return nil
}

func (p *Proxy) reportCreated(body []byte) {
	var reply struct{ ID string }
	if json.Unmarshal(body, &reply) == nil && reply.ID != "" {
		p.report(reply.ID)
	}
}

// reportCreatedPod reports the sandbox (infra container) of a new pod.
func (p *Proxy) reportCreatedPod(body []byte) {
	var reply struct{ ID string }
	if json.Unmarshal(body, &reply) == nil && reply.ID != "" {
		p.reportPod(p.ctx, reply.ID)
	}
}

// reportPlayed reports the containers of podman kube play. Podman has started them already.
func (p *Proxy) reportPlayed(body []byte) {
	var reply struct {
		Pods []struct {
			ID                         string
			Containers, InitContainers []string
		}
		ServiceContainerID string
	}
	if json.Unmarshal(body, &reply) != nil {
		return
	}
	for _, pod := range reply.Pods {
		for _, id := range slices.Concat(pod.Containers, pod.InitContainers) {
			p.report(id)
		}
		p.reportPod(p.ctx, pod.ID)
	}
	if reply.ServiceContainerID != "" {
		p.report(reply.ServiceContainerID)
	}
}

// replyUnreachable replies to a client, in the form of the engine's errors, that the engine cannot be reached.
func (p *Proxy) replyUnreachable(w http.ResponseWriter, r *http.Request, err error) {
	if r.Context().Err() != nil {
		panic(http.ErrAbortHandler) // the client has disconnected, or Close was called
	}
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(http.StatusBadGateway)
	engine := "Docker"
	if p.docker.Name() == Podman {
		engine = "Podman"
	}
	message := fmt.Sprintf("capmon cannot reach %s at %s: %v", engine, p.docker.Endpoint(), err)
	_ = json.NewEncoder(w).Encode(map[string]string{"message": message})
}

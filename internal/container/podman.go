package container

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/docker/docker/client"

	"github.com/capmon/capmon/capability"
	"github.com/capmon/capmon/internal/containerid"
	"github.com/capmon/capmon/internal/seccomp"
)

// Podman is the name of the engine Podman.
const Podman = "podman"

// libpodVersion is the version of Podman's own API that capmon uses. Podman 4 and 5 have it.
const libpodVersion = "v4.0.0"

// maxLibpodAnswer is the largest answer of Podman's own API that capmon reads, in bytes.
const maxLibpodAnswer = 16 << 20

// isPodman reports whether the engine is Podman behind Docker's API. isPodman asks the engine once.
func (d *Docker) isPodman(ctx context.Context) (bool, error) {
	if podman := d.knownKind(); podman != nil {
		return *podman, nil
	}
	if err := d.Alive(ctx); err != nil {
		return false, fmt.Errorf("requesting the kind of the engine: %w", err)
	}
	return *d.knownKind(), nil
}

// knownKind returns whether the engine is Podman, or nil if it has not answered yet.
func (d *Docker) knownKind() *bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.podman
}

// Alive implements [Member]. The answer to a ping has the kind of the engine: Podman names itself in the header Server.
func (d *Docker) Alive(ctx context.Context) error {
	answer, err := d.get(ctx, "/_ping")
	if err != nil {
		return err
	}
	_ = answer.Body.Close()
	podman := strings.HasPrefix(answer.Header.Get("Server"), "Libpod/")
	d.mu.Lock()
	defer d.mu.Unlock()
	d.podman = &podman
	return nil
}

// get sends a GET request to the engine. The caller closes the body of the answer.
func (d *Docker) get(ctx context.Context, path string) (*http.Response, error) {
	host, err := client.ParseHostURL(d.client.DaemonHost())
	if err != nil {
		return nil, err
	}
	target := url.URL{Scheme: "http", Host: client.DummyHost, Path: strings.TrimSuffix(host.Path, "/") + path}
	if host.Scheme == "unix" { // the path is the socket
		target.Path = path
	}
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, target.String(), http.NoBody)
	if err != nil {
		return nil, err
	}
	transport := http.Transport{ // the client's dialer uses TLS or ssh if the endpoint needs it
		DialContext:       func(ctx context.Context, _, _ string) (net.Conn, error) { return d.client.Dialer()(ctx) },
		DisableKeepAlives: true,
	}
	return transport.RoundTrip(request)
}

// libpodContainer is the part of Podman's own description of a container that capmon uses.
type libpodContainer struct {
	ID            string
	ImageDigest   string
	Pod           string
	IsInfra       bool
	OCIConfigPath string
	// BoundingCaps are null if the container has no capability, and missing if Podman does not report them.
	BoundingCaps json.RawMessage
}

// withLibpod completes what Podman's Docker-compatible API reports about a container. There, CapAdd and CapDrop are
// differences from Podman's default and not from Docker's.
func (d *Docker) withLibpod(ctx context.Context, info Info) (Info, error) {
	failed := func(err error) (Info, error) {
		return Info{}, fmt.Errorf("inspecting container %s of Podman: %w", info.ID, err)
	}
	answer, err := d.get(ctx, "/"+libpodVersion+"/libpod/containers/"+url.PathEscape(info.ID)+"/json")
	if err != nil {
		return failed(err)
	}
	defer answer.Body.Close()
	switch answer.StatusCode {
	case http.StatusOK:
	case http.StatusNotFound: // removed in between
		return Info{}, fmt.Errorf("%s: %w", info.ID, ErrNotFound)
	default:
		return failed(fmt.Errorf("the answer is %s", answer.Status))
	}
	var c libpodContainer
	if err := json.NewDecoder(io.LimitReader(answer.Body, maxLibpodAnswer)).Decode(&c); err != nil {
		return failed(err)
	}
	if c.ID != info.ID {
		return failed(fmt.Errorf("the answer is about container %s", containerid.Short(c.ID)))
	}
	granted, err := c.granted()
	if err != nil {
		return failed(err)
	}
	info.Engine, info.Granted, info.CapAdd, info.CapDrop = Podman, &granted, nil, nil
	info.Pod, info.Sandbox, info.ImageDigest, info.OCIConfigPath = c.Pod, c.IsInfra, c.ImageDigest, c.OCIConfigPath
	return info, nil
}

// podMembers returns the IDs of the containers of a pod, with its sandbox (infra container).
func (d *Docker) podMembers(ctx context.Context, pod string) (ids []string, err error) {
	answer, err := d.get(ctx, "/"+libpodVersion+"/libpod/pods/"+url.PathEscape(pod)+"/json")
	if err != nil {
		return nil, err
	}
	defer answer.Body.Close()
	if answer.StatusCode != http.StatusOK {
		return nil, fmt.Errorf("requesting the containers of a pod: the answer is %s", answer.Status)
	}
	var reply struct{ Containers []struct{ ID string } }
	if err := json.NewDecoder(io.LimitReader(answer.Body, maxLibpodAnswer)).Decode(&reply); err != nil {
		return nil, fmt.Errorf("reading the containers of a pod: %w", err)
	}
	for _, c := range reply.Containers {
		ids = append(ids, c.ID)
	}
	return ids, nil
}

// granted returns the capabilities that the container was granted.
func (c libpodContainer) granted() (granted capability.Set, err error) {
	if c.BoundingCaps == nil {
		return 0, errors.New("the answer does not have the capabilities")
	}
	var names []string
	if err := json.Unmarshal(c.BoundingCaps, &names); err != nil {
		return 0, err
	}
	for _, name := range names {
		one, err := capability.Parse(name)
		if err != nil {
			return 0, err
		}
		granted = granted.With(one)
	}
	return granted, nil
}

// podmanSeccomp returns the seccomp profile of a container of Podman with these security options. It is nil if the
// profile is not known: capmon does not know Podman's default profile.
func podmanSeccomp(options []string) *seccomp.Profile {
	if slices.Contains(options, "seccomp="+seccomp.Unconfined) {
		return seccomp.None()
	}
	return nil
}

// The events of Podman differ from Docker's.
const (
	podmanRemoved EventType = "remove" // Docker's is destroy
	// maxPastOfPodman is the largest number of past events that capmon keeps. Podman has no limit.
	maxPastOfPodman = 4096
	// podmanDelay is how far in the future the end of a request for past events is. Podman 4.3 answers a request that
	// ends in the past with the first event only.
	podmanDelay = time.Second
)

// podmanAttributes returns the attributes that Podman adds to the labels in its events.
func podmanAttributes() []string { return []string{"containerExitCode", "podId"} }

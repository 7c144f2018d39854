package untrustedfs

import (
	"context"
	"encoding/gob"
	"errors"
	"net"
	"os"
	"path/filepath"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/capmon/capmon/capability"
	"github.com/capmon/capmon/internal/container"
	"github.com/capmon/capmon/internal/testutil"
)

// fakeWorkers starts workers that answer every request except requests for process 0, on which they hang.
type fakeWorkers struct {
	started atomic.Int32
	release chan struct{} // when closed, hanging workers end
}

// limited is a stream whose time limit expires as soon as the other side hangs.
type limited struct {
	net.Conn
	hangs chan struct{}
}

func (l limited) Read(p []byte) (int, error) {
	type read struct {
		n   int
		err error
	}
	done := make(chan read, 1)
	go func() {
		n, err := l.Conn.Read(p)
		done <- read{n, err}
	}()
	select {
	case r := <-done:
		return r.n, r.err
	case <-l.hangs:
		return 0, os.ErrDeadlineExceeded
	}
}

func (f *fakeWorkers) start() (*worker, error) {
	f.started.Add(1)
	own, others := net.Pipe()
	hangs, ended := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(ended)
		in, out := newDecoder(others), gob.NewEncoder(others)
		for {
			var request Request
			if in.decode(&request) != nil {
				return
			}
			if request.RunsFile.PID == 0 {
				close(hangs)
				<-f.release
				return
			}
			if out.Encode(Answer{Found: true}) != nil {
				return
			}
		}
	}()
	return newWorker(limited{own, hangs}, func() { _ = own.Close() }, func() { <-ended }), nil
}

func newFakePool(t *testing.T) (*Pool, *fakeWorkers, chan uint64) {
	t.Helper()
	f := &fakeWorkers{release: make(chan struct{})}
	unresponsive := make(chan uint64, 2*maxAbandoned)
	p := newPool(f.start, time.Minute, func(container uint64) { unresponsive <- container })
	t.Cleanup(func() {
		p.Close()
		close(f.release)
	})
	return p, f, unresponsive
}

var hangs, answers = Request{RunsFile: &RunsFile{PID: 0}}, Request{RunsFile: &RunsFile{PID: 1}}

// If the file systems of more than eight containers hang, requests for other containers are still answered. The hanging
// file systems get one request each.
func TestUnresponsiveContainersDoNotDelayOthers(t *testing.T) {
	p, f, unresponsive := newFakePool(t)
	for container := range uint64(20) {
		if _, err := p.Do(t.Context(), container, hangs); !errors.Is(err, ErrUnresponsive) {
			t.Fatalf("container %d: %v", container, err)
		}
		if got := <-unresponsive; got != container {
			t.Errorf("container %d was reported as unresponsive instead of %d", got, container)
		}
		started := f.started.Load()
		if _, err := p.Do(t.Context(), container, answers); !errors.Is(err, ErrUnresponsive) || f.started.Load() != started {
			t.Errorf("container %d got a second request: %v", container, err)
		}
		if answer, err := p.Do(t.Context(), 1000+container, answers); err != nil || !answer.Found {
			t.Errorf("a request for another container failed: %v", err)
		}
	}
	if n := len(p.Unresponsive()); n != 20 {
		t.Errorf("%d containers are unresponsive, want 20", n)
	}
	p.Forget(7)
	if _, err := p.Do(t.Context(), 7, answers); err != nil {
		t.Errorf("after Forget: %v", err)
	}
}

func TestWarmStartsAHelper(t *testing.T) {
	p, f, _ := newFakePool(t)
	p.Warm()
	if _, err := p.Do(t.Context(), 1, answers); err != nil || f.started.Load() != 1 {
		t.Errorf("%v, %d helpers", err, f.started.Load())
	}
}

// The number of helper processes that the kernel cannot end is limited.
func TestAbandonedHelpersAreBounded(t *testing.T) {
	p, f, _ := newFakePool(t)
	var container uint64
	for ; container < maxAbandoned; container++ {
		if _, err := p.Do(t.Context(), container, hangs); !errors.Is(err, ErrUnresponsive) {
			t.Fatal(err)
		}
	}
	started := f.started.Load()
	if _, err := p.Do(t.Context(), container, answers); !errors.Is(err, ErrAbandoned) || f.started.Load() != started {
		t.Errorf("%v, %d helpers were started", err, f.started.Load()-started)
	}
}

// A caller waits only until its context ends, even if the request continues.
func TestDoEndsWithItsContext(t *testing.T) {
	p, _, _ := newFakePool(t)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := p.Do(ctx, 1, answers); !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
	p.Close()
	if _, err := p.Do(t.Context(), 1, answers); !errors.Is(err, errClosed) {
		t.Error(err)
	}
}

// A container whose file system answers slowly does not get more than its share of the time.
func TestSlowContainersGetTheirShare(t *testing.T) {
	p, _, _ := newFakePool(t)
	p.account(1).spent = burst + time.Minute
	if _, err := p.Do(t.Context(), 1, answers); !errors.Is(err, ErrSlow) {
		t.Error(err)
	}
	if _, err := p.Do(t.Context(), 2, answers); err != nil {
		t.Error(err)
	}
	p.account(1).since = time.Now().Add(-share * time.Minute)
	if _, err := p.Do(t.Context(), 1, answers); err != nil {
		t.Errorf("after some time: %v", err)
	}
}

// A real helper process answers several requests.
func TestHelperProcesses(t *testing.T) {
	p := NewPool(func(container uint64) { t.Errorf("container %d is unresponsive", container) })
	defer p.Close()
	self := RunsFile{PID: uint32(os.Getpid()), Inode: inodeOf(t, "/proc/self/exe")}
	for range 3 {
		answer, err := p.Do(t.Context(), 1, Request{RunsFile: &self})
		if err != nil || !answer.Found {
			t.Fatalf("%+v, %v", answer, err)
		}
	}
	other := RunsFile{PID: self.PID, Inode: self.Inode + 1}
	if answer, err := p.Do(t.Context(), 1, Request{RunsFile: &other}); err != nil || answer.Found {
		t.Errorf("%+v, %v", answer, err)
	}
	if n := len(p.idle); n != 1 {
		t.Errorf("%d helper processes, want 1", n)
	}
}

// capmon does not follow links that an ended container left in its volumes and layers.
func TestLinksOfContainersAreNotFollowed(t *testing.T) {
	testutil.NeedRoot(t)
	const own = "/proc/self"
	directory := t.TempDir()
	secret := filepath.Join(directory, "host", "secret")
	volume, layer := filepath.Join(directory, "volume"), filepath.Join(directory, "layer")
	err := errors.Join(
		os.MkdirAll(filepath.Dir(secret), 0o755), os.WriteFile(secret, nil, 0o600), os.Chown(secret, 4711, 4711),
		os.MkdirAll(volume, 0o755), os.Symlink(filepath.Dir(secret), filepath.Join(volume, "link")),
		os.MkdirAll(layer, 0o755), os.Symlink(filepath.Dir(secret), filepath.Join(layer, "link")),
	)
	if err != nil {
		t.Fatal(err)
	}
	if err := unix.Setxattr(secret, "security.capability", []byte("\x01\x00\x00\x02\x00\x20\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00"), 0); err != nil {
		t.Fatal(err)
	}
	path := Path{
		EngineProc: own, Inspected: true, Layers: []string{layer}, Base: "/",
		Mounts: []container.Mount{{Source: volume, Destination: "/volume"}, {Source: filepath.Join(volume, "link"), Destination: "/replaced"}},
	}
	for _, name := range []string{"/volume/link/secret", "/link/secret", "/replaced/secret"} {
		path.Path = name
		if walk, err := path.follow(); err == nil && walk.File != nil {
			t.Errorf("%s: %+v", name, *walk.File)
		}
	}
	var stat unix.Stat_t
	if err := unix.Stat(secret, &stat); err != nil {
		t.Fatal(err)
	}
	device := uint32(unix.Major(stat.Dev))<<20 | unix.Minor(stat.Dev)
	program := Program{EngineProc: own, Device: device, Inode: stat.Ino, Layers: []string{layer}}
	for name, want := range map[string]capability.Set{secret: capability.Of(capability.NetRaw), filepath.Join(volume, "link/secret"): 0, "/link/secret": 0} {
		program.Path = name
		if capabilities, _ := program.fileCapabilities(); capabilities.Permitted != want {
			t.Errorf("%s: %+v, want %v", name, capabilities, want)
		}
	}
}

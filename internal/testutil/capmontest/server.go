package capmontest

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"github.com/capmon/capmon/internal/daemon"
	"github.com/capmon/capmon/internal/testutil"
	"github.com/capmon/capmon/internal/testutil/testpins"
	"github.com/capmon/capmon/monitor"
)

// Server is a capmon serve process that only one test uses.
type Server struct {
	*Process
	T                      *testing.T
	Database, Pins, Socket string
	Host                   string // of the engine
	Command                []string
}

// Serve starts a capmon serve of the binary with these additional options, with the engine at this host. Its pins are
// removed when the test ends.
func Serve(t *testing.T, binary, host string, options ...string) *Server {
	t.Helper()
	directory, err := os.MkdirTemp("", "serve") // paths of unix sockets are limited
	if err != nil {
		t.Fatal(err)
	}
	s := &Server{
		T: t, Host: host, Database: filepath.Join(directory, "capmon.db"), Socket: filepath.Join(directory, "s"),
		Pins: testpins.Directory(filepath.Base(directory)),
	}
	s.Command = append([]string{binary, "serve", "--db", s.Database, "--pins", s.Pins, "--socket", s.Socket, "--save-every", "1s", "--log-level", "debug"}, options...)
	t.Cleanup(func() {
		s.Kill()
		unsaved, err := filepath.Glob(daemon.FallbackPath("/run/capmon", s.Database) + "*")
		for _, path := range unsaved {
			err = errors.Join(err, os.Remove(path))
		}
		if err := errors.Join(err, monitor.RemovePins(s.Pins), os.RemoveAll(directory)); err != nil {
			t.Error(err)
		}
	})
	s.Start()
	return s
}

// Start starts the process again, and returns once it records.
func (s *Server) Start() {
	s.T.Helper()
	s.Process = Record(s.T, func(cmd *exec.Cmd) error {
		cmd.Env = s.Environment()
		return cmd.Start()
	}, s.Command...)
}

// Environment returns the environment of the process.
func (s *Server) Environment() []string { return append(os.Environ(), "DOCKER_HOST="+s.Host) }

// Kill kills the process with SIGKILL.
func (s *Server) Kill() {
	_ = s.Child.Kill()
	<-s.Ended
}

// StartAndKill starts serve and kills it during its start or soon afterwards.
func (s *Server) StartAndKill() {
	s.T.Helper()
	cmd := exec.Command(s.Command[0], s.Command[1:]...)
	cmd.Env = s.Environment()
	if err := cmd.Start(); err != nil {
		s.T.Fatal(err)
	}
	time.Sleep(rand.N(2 * time.Second))
	_ = cmd.Process.Kill()
	_ = cmd.Wait()
}

// Get sends a request to the server.
func (s *Server) Get(path string) (status int, body string) {
	s.T.Helper()
	status, body, err := GetBy(UnixClient(s.Socket), "http://capmon"+path, "")
	if err != nil {
		s.T.Fatal(err)
	}
	return status, body
}

// Header returns a header of the response.
func (s *Server) Header(path, name string) string {
	s.T.Helper()
	response, err := UnixClient(s.Socket).Get("http://capmon" + path)
	if err != nil {
		s.T.Fatal(err)
	}
	defer response.Body.Close()
	if response.StatusCode != http.StatusOK {
		s.T.Fatalf("%s: %s", path, response.Status)
	}
	return response.Header.Get(name)
}

// UnixClient returns a client for the HTTP API at a Unix socket.
func UnixClient(socket string) *http.Client {
	return &http.Client{Transport: &http.Transport{
		DisableKeepAlives: true,
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			return new(net.Dialer).DialContext(ctx, "unix", socket)
		},
	}}
}

// GetBy sends a request with this token, or without one if it is "".
func GetBy(client *http.Client, url, token string) (status int, body string, err error) {
	request, err := http.NewRequest(http.MethodGet, url, nil)
	if err != nil {
		return 0, "", err
	}
	if token != "" {
		request.Header.Set("Authorization", "Bearer "+token)
	}
	response, err := client.Do(request)
	if err != nil {
		return 0, "", err
	}
	defer response.Body.Close()
	text, err := io.ReadAll(response.Body)
	return response.StatusCode, string(text), err
}

// State returns the state that the server reports.
func (s *Server) State() (state daemon.State) {
	s.T.Helper()
	_, body := s.Get("/api/v1/state")
	if err := json.Unmarshal([]byte(body), &state); err != nil {
		s.T.Fatalf("%v: %s", err, body)
	}
	return state
}

// Saved waits until everything that was recorded so far is in the database.
func (s *Server) Saved() {
	s.T.Helper()
	now := time.Now()
	s.Until("the recorded data is saved", func(state daemon.State) bool { return state.Saved.After(now) })
}

// Until waits until the state of the server is as wanted.
func (s *Server) Until(what string, holds func(daemon.State) bool) {
	s.T.Helper()
	var state daemon.State
	defer func() {
		if s.T.Failed() {
			s.T.Logf("the state is %+v", state)
		}
	}()
	testutil.Eventually(s.T, what, func() bool {
		state = s.State()
		return holds(state)
	})
}

package testutil

import (
	"net"
	"net/http"
	"testing"
)

// HTTPServer is a server on the loopback interface that keeps its address while it is down.
type HTTPServer struct {
	Address string
	server  *http.Server
}

// NewHTTPServer returns a server that is down. It is stopped when the test ends.
func NewHTTPServer(t testing.TB) *HTTPServer {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close()
	s := &HTTPServer{Address: listener.Addr().String()}
	t.Cleanup(s.Stop)
	return s
}

// Start starts the server. It waits until the address is free.
func (s *HTTPServer) Start(t testing.TB, handler http.Handler) {
	t.Helper()
	var listener net.Listener
	Eventually(t, "the address is free", func() (ok bool) {
		var err error
		listener, err = net.Listen("tcp", s.Address)
		return err == nil
	})
	server := &http.Server{Handler: handler}
	s.server = server
	go func() { _ = server.Serve(listener) }()
}

// Stop stops the server and closes its connections.
func (s *HTTPServer) Stop() {
	if s.server != nil {
		_ = s.server.Close()
	}
}

package api

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"strings"
	"time"

	"golang.org/x/net/netutil"

	"github.com/capmon/capmon/internal/unixsocket"
)

// Limits of what a client may send, and of how long it may take.
const (
	headerTime  = 10 * time.Second
	idleTime    = 2 * time.Minute
	writeTime   = time.Minute
	headerBytes = 16 << 10
	// connections is how many clients may be connected to one listener, before it is known who they
	// are. Further ones wait in the kernel's queue.
	connections = 64
	tokenMin    = 16
)

// ListenUnix opens a socket as [unixsocket.Listen] does, for a limited number of connections at once.
func ListenUnix(path, group string) (net.Listener, error) {
	listener, err := unixsocket.Listen(path, group)
	if err != nil {
		return nil, err
	}
	return netutil.LimitListener(listener, connections), nil
}

// ListenTLS opens a port with a certificate.
func ListenTLS(address, certificate, key string) (net.Listener, error) {
	pair, err := tls.LoadX509KeyPair(certificate, key)
	if err != nil {
		return nil, fmt.Errorf("reading the certificate: %w", err)
	}
	listener, err := net.Listen("tcp", address)
	if err != nil {
		return nil, fmt.Errorf("listening at %s: %w", address, err)
	}
	// Beneath TLS, so that a connection counts before its handshake.
	limited := netutil.LimitListener(listener, connections)
	return tls.NewListener(limited, &tls.Config{Certificates: []tls.Certificate{pair}, MinVersion: tls.VersionTLS12}), nil
}

// ReadToken reads a token from a file that only its owner may read, and perhaps its group: so are
// systemd's credentials, where an access control list lets the unit's user read them.
func ReadToken(path string) (string, error) {
	info, err := os.Stat(path)
	if err != nil {
		return "", fmt.Errorf("reading the token: %w", err)
	}
	if info.Mode().Perm()&0o037 != 0 {
		return "", fmt.Errorf("others may read the token in %s: chmod 640 it", path)
	}
	text, err := os.ReadFile(path)
	if err != nil {
		return "", fmt.Errorf("reading the token: %w", err)
	}
	token := strings.TrimSpace(string(text))
	strange := strings.ContainsFunc(token, func(r rune) bool { return r <= ' ' || r > '~' }) // headers cannot have it
	if len(token) < tokenMin || strange {
		return "", fmt.Errorf("the token in %s has to be one word of at least %d characters, all of them printable ASCII", path, tokenMin)
	}
	return token, nil
}

// Serve answers at a listener until ctx ends.
func Serve(ctx context.Context, listener net.Listener, handler http.Handler) error {
	server := &http.Server{
		Handler: handler, ReadHeaderTimeout: headerTime, ReadTimeout: headerTime, WriteTimeout: writeTime,
		IdleTimeout: idleTime, MaxHeaderBytes: headerBytes,
	}
	stop := context.AfterFunc(ctx, func() {
		ending, cancel := context.WithTimeout(context.WithoutCancel(ctx), time.Second)
		defer cancel()
		_ = server.Shutdown(ending) // who still reads has a second
		_ = server.Close()
	})
	defer stop()
	if err := server.Serve(listener); err != nil && !errors.Is(err, http.ErrServerClosed) {
		return fmt.Errorf("serving at %s: %w", listener.Addr(), err)
	}
	return nil
}

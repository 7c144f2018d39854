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

// Limits for clients.
const (
	headerTimeout  = 10 * time.Second
	idleTimeout    = 2 * time.Minute
	writeTimeout   = time.Minute
	maxHeaderBytes = 16 << 10
	// maxConnections is the maximum number of connections to a listener, including connections that have not sent the
	// token yet. Further connections wait in the kernel's queue.
	maxConnections = 64
	minTokenLength = 16
)

// ListenUnix listens on a unix socket, as [unixsocket.Listen] does. It limits the number of connections.
func ListenUnix(path, group string) (net.Listener, error) {
	listener, err := unixsocket.Listen(path, group)
	if err != nil {
		return nil, err
	}
	return netutil.LimitListener(listener, maxConnections), nil
}

// ListenTLS listens on a TCP address with TLS. certificate and key are PEM files. It limits the number of connections.
func ListenTLS(address, certificate, key string) (net.Listener, error) {
	pair, err := tls.LoadX509KeyPair(certificate, key)
	if err != nil {
		return nil, fmt.Errorf("reading the certificate: %w", err)
	}
	listener, err := net.Listen("tcp", address)
	if err != nil {
		return nil, fmt.Errorf("listening on %s: %w", address, err)
	}
	// The limit is below TLS, so that a connection counts before its handshake.
	limited := netutil.LimitListener(listener, maxConnections)
	return tls.NewListener(limited, &tls.Config{Certificates: []tls.Certificate{pair}, MinVersion: tls.VersionTLS12}), nil
}

// ReadToken reads the token from a file. Only the owner and the group may read the file. The mode of systemd's
// credentials permits the group to read, because an access control list permits it to the user of the unit.
func ReadToken(path string) (string, error) {
	info, err := os.Stat(path)
	if err != nil {
		return "", fmt.Errorf("reading the token: %w", err)
	}
	if info.Mode().Perm()&0o037 != 0 {
		return "", fmt.Errorf("others may read the token in %s: run chmod 640 %s", path, path)
	}
	text, err := os.ReadFile(path)
	if err != nil {
		return "", fmt.Errorf("reading the token: %w", err)
	}
	token := strings.TrimSpace(string(text))
	invalid := strings.ContainsFunc(token, func(r rune) bool { return r <= ' ' || r > '~' }) // not valid in a header
	if len(token) < minTokenLength || invalid {
		return "", fmt.Errorf("the token in %s must be one word of at least %d printable ASCII characters", path, minTokenLength)
	}
	return token, nil
}

// Serve serves HTTP on a listener until ctx ends.
func Serve(ctx context.Context, listener net.Listener, handler http.Handler) error {
	server := &http.Server{
		Handler: handler, ReadHeaderTimeout: headerTimeout, ReadTimeout: headerTimeout, WriteTimeout: writeTimeout,
		IdleTimeout: idleTimeout, MaxHeaderBytes: maxHeaderBytes,
	}
	stop := context.AfterFunc(ctx, func() {
		shutdownCtx, cancel := context.WithTimeout(context.WithoutCancel(ctx), time.Second)
		defer cancel()
		_ = server.Shutdown(shutdownCtx) // responses in progress have a second
		_ = server.Close()
	})
	defer stop()
	if err := server.Serve(listener); err != nil && !errors.Is(err, http.ErrServerClosed) {
		return fmt.Errorf("serving on %s: %w", listener.Addr(), err)
	}
	return nil
}

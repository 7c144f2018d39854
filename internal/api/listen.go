package api

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/user"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"golang.org/x/net/netutil"
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

// ListenUnix opens a socket at a path that only root and the members of a group may use; ""
// for root alone. A socket that nobody answers at is replaced.
func ListenUnix(path, group string) (net.Listener, error) {
	gid := -1
	if group != "" {
		found, err := user.LookupGroup(group)
		if err != nil {
			return nil, fmt.Errorf("the socket's group: %w", err)
		}
		if gid, err = strconv.Atoi(found.Gid); err != nil {
			return nil, fmt.Errorf("the socket's group: %w", err)
		}
	}
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return nil, fmt.Errorf("making the socket's directory: %w", err)
	}
	if err := removeDead(path); err != nil {
		return nil, err
	}
	// Made where nobody else may go, so that it is never open to more than it is for.
	private, err := os.MkdirTemp(filepath.Dir(path), ".capmon-")
	if err != nil {
		return nil, fmt.Errorf("making the socket: %w", err)
	}
	defer os.RemoveAll(private)
	draft := filepath.Join(private, "s")
	listener, err := net.ListenUnix("unix", &net.UnixAddr{Name: draft, Net: "unix"})
	if err != nil {
		return nil, fmt.Errorf("making the socket: %w", err)
	}
	listener.SetUnlinkOnClose(false)
	mode := os.FileMode(0o600)
	if gid >= 0 {
		mode = 0o660
		err = os.Chown(draft, -1, gid)
	}
	if err = errors.Join(err, os.Chmod(draft, mode)); err == nil {
		err = os.Rename(draft, path)
	}
	if err != nil {
		return nil, errors.Join(fmt.Errorf("making the socket: %w", err), listener.Close())
	}
	return netutil.LimitListener(listener, connections), nil
}

// removeDead removes a socket that a process has left. Anything else is left alone.
func removeDead(path string) error {
	info, err := os.Lstat(path)
	if errors.Is(err, os.ErrNotExist) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("looking at the socket's path: %w", err)
	}
	if info.Mode()&os.ModeSocket == 0 {
		return fmt.Errorf("%s is there and is no socket: choose another path", path)
	}
	conn, err := net.DialTimeout("unix", path, time.Second)
	if err == nil {
		_ = conn.Close()
		return fmt.Errorf("another process answers at %s: end it, or choose another path", path)
	}
	return os.Remove(path)
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

package container

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"io"
	"math/big"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// connection returns a command that runs the test binary as a process of its own. Its environment has only the given
// Docker variables.
func connection(t *testing.T, env []string, command ...string) *exec.Cmd {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), os.Args[0], command...)
	for _, entry := range os.Environ() {
		if !strings.HasPrefix(entry, "DOCKER_") {
			cmd.Env = append(cmd.Env, entry)
		}
	}
	cmd.Env = append(append(cmd.Env, asProcess+"=1"), env...)
	return cmd
}

func TestEndpointIsThatOfTheDockerCommand(t *testing.T) {
	host := engine(t).Endpoint()
	empty, configured := t.TempDir(), t.TempDir()
	create := exec.Command("docker", "context", "create", "there", "--docker", "host="+host)
	create.Env = append(os.Environ(), "DOCKER_CONFIG="+configured)
	if out, err := create.CombinedOutput(); err != nil {
		t.Fatalf("docker context create: %v\n%s", err, out)
	}
	current := t.TempDir()
	if err := os.CopyFS(current, os.DirFS(configured)); err != nil {
		t.Fatal(err)
	}
	write(t, filepath.Join(current, "config.json"), `{"currentContext": "there"}`)
	broken := t.TempDir()
	write(t, filepath.Join(broken, "config.json"), `{"currentContext":`)

	address, certificates := tlsEngine(t, host)
	notDocker := httptest.NewServer(http.NotFoundHandler())
	defer notDocker.Close()
	closed, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	closed.Close()

	for _, test := range []struct {
		name string
		env  []string
		want string
	}{
		{"DOCKER_HOST", []string{"DOCKER_HOST=" + host}, "connected: " + host},
		{"broken configuration", []string{"DOCKER_HOST=" + host, "DOCKER_CONFIG=" + broken}, "connected: " + host},
		{"DOCKER_CONTEXT", []string{"DOCKER_CONTEXT=there", "DOCKER_CONFIG=" + configured}, "connected: " + host},
		{"current context", []string{"DOCKER_CONFIG=" + current}, "connected: " + host},
		{"DOCKER_HOST has precedence over contexts", []string{"DOCKER_HOST=unix:///nowhere", "DOCKER_CONTEXT=there", "DOCKER_CONFIG=" + current}, "unreachable: cannot reach Docker at unix:///nowhere:"},
		{"default context has precedence over the current one", []string{"DOCKER_CONTEXT=default", "DOCKER_CONFIG=" + current}, ""},
		{"TLS", []string{"DOCKER_HOST=" + address, "DOCKER_TLS_VERIFY=1", "DOCKER_CERT_PATH=" + certificates}, "connected: " + address},
		{"TLS without a certificate", []string{"DOCKER_HOST=" + address}, "unreachable: cannot reach Docker at " + address},
		{"TLS with the wrong certificates", []string{"DOCKER_HOST=" + address, "DOCKER_TLS_VERIFY=1", "DOCKER_CERT_PATH=" + empty}, "error: choosing the Docker engine:"},
		{"no such context", []string{"DOCKER_CONTEXT=nope", "DOCKER_CONFIG=" + configured}, `error: choosing the Docker engine: `},
		{"invalid address", []string{"DOCKER_HOST=what://is this"}, "error: choosing the Docker engine: "},
		{"no socket", []string{"DOCKER_HOST=unix://" + empty + "/docker.sock"}, "unreachable: cannot reach Docker at unix://" + empty + "/docker.sock: dial unix " + empty + "/docker.sock: connect: no such file or directory; start Docker, or correct DOCKER_HOST or the docker context"},
		{"no listener", []string{"DOCKER_HOST=tcp://" + closed.Addr().String()}, "unreachable: cannot reach Docker at tcp://" + closed.Addr().String() + ": dial tcp"},
		{"not Docker", []string{"DOCKER_HOST=tcp://" + notDocker.Listener.Addr().String()}, "unreachable: cannot reach Docker at tcp://" + notDocker.Listener.Addr().String()},
	} {
		t.Run(test.name, func(t *testing.T) {
			var stdout, stderr bytes.Buffer
			cmd := connection(t, append([]string{"DOCKER_CONFIG=" + empty}, test.env...))
			cmd.Stdout, cmd.Stderr = &stdout, &stderr
			if err := cmd.Run(); err != nil {
				t.Fatalf("%v: %s%s", err, &stdout, &stderr)
			}
			t.Log(stdout.String())
			if !strings.HasPrefix(stdout.String(), test.want) || strings.Count(stdout.String(), "\n") != 1 || stderr.Len() > 0 {
				t.Errorf("got %s%s; want only %q", &stdout, &stderr, test.want)
			}
			if test.want == "" && !strings.Contains(stdout.String(), "unix:///var/run/docker.sock") {
				t.Errorf("got %s; want the default socket", &stdout)
			}
		})
	}
}

// The proxy connects to the engine in the same ways, and passes on the end of stdin.
func TestProxyWorksOverTLSAndSSH(t *testing.T) {
	host := engine(t).Endpoint()
	address, certificates := tlsEngine(t, host)
	// An ssh that runs the command on this machine.
	tools := t.TempDir()
	write(t, filepath.Join(tools, "ssh"), `#!/bin/sh
while [ "$1" != -- ]; do shift; done
export DOCKER_HOST=`+host+`
shift 2
exec sh -c "$*"
`)
	for name, env := range map[string][]string{
		"TLS": {"DOCKER_HOST=" + address, "DOCKER_TLS_VERIFY=1", "DOCKER_CERT_PATH=" + certificates},
		"ssh": {"DOCKER_HOST=ssh://somebody@somewhere", "PATH=" + tools + ":" + os.Getenv("PATH")},
	} {
		t.Run(name, func(t *testing.T) {
			cmd := connection(t, env, "docker", "run", "-i", "--rm", "bb", "sh", "-c", "cat; echo end")
			cmd.Stdin = strings.NewReader("hello\n")
			out, err := cmd.Output()
			_, endpoint, _ := strings.Cut(env[0], "=")
			if want := "connected: " + endpoint + "\nhello\nend\nreported: 1\n"; err != nil || string(out) != want {
				t.Errorf("got %s, %v; want %s", out, err, want)
			}
		})
	}
}

func TestNewDockerEndsWithItsContext(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	_, err := NewDocker(ctx)
	var unreachable *UnreachableError
	if !errors.Is(err, context.Canceled) || errors.As(err, &unreachable) {
		t.Errorf("got %v; want only context.Canceled", err)
	}
}

func write(t *testing.T, path, content string) {
	t.Helper()
	if err := os.WriteFile(path, []byte(content), 0o755); err != nil {
		t.Fatal(err)
	}
}

// tlsEngine makes the engine at a unix socket reachable over TCP and TLS for clients with the certificates in the
// directory.
func tlsEngine(t *testing.T, host string) (address, directory string) {
	t.Helper()
	directory = t.TempDir()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	// One certificate for all purposes: authority, server and client.
	template := &x509.Certificate{
		SerialNumber:          big.NewInt(1),
		Subject:               pkix.Name{CommonName: "capmon test"},
		NotBefore:             time.Now().Add(-time.Hour),
		NotAfter:              time.Now().Add(time.Hour),
		IPAddresses:           []net.IP{net.IPv4(127, 0, 0, 1)},
		KeyUsage:              x509.KeyUsageDigitalSignature | x509.KeyUsageCertSign,
		ExtKeyUsage:           []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth},
		BasicConstraintsValid: true,
		IsCA:                  true,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	keyDER, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	certificate := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})
	keyPEM := pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: keyDER})
	for name, content := range map[string][]byte{"ca.pem": certificate, "cert.pem": certificate, "key.pem": keyPEM} {
		write(t, filepath.Join(directory, name), string(content))
	}
	pair, err := tls.X509KeyPair(certificate, keyPEM)
	if err != nil {
		t.Fatal(err)
	}
	pool := x509.NewCertPool()
	pool.AppendCertsFromPEM(certificate)
	listener, err := tls.Listen("tcp", "127.0.0.1:0", &tls.Config{
		Certificates: []tls.Certificate{pair}, ClientAuth: tls.RequireAndVerifyClientCert, ClientCAs: pool,
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { listener.Close() })
	go func() {
		for {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			go relay(conn.(*tls.Conn), strings.TrimPrefix(host, "unix://"))
		}
	}()
	return "tcp://" + listener.Addr().String(), directory
}

func relay(conn *tls.Conn, socket string) {
	defer conn.Close()
	backend, err := net.Dial("unix", socket)
	if err != nil {
		return
	}
	defer backend.Close()
	go func() {
		_, _ = io.Copy(backend, conn)
		_ = backend.(*net.UnixConn).CloseWrite()
	}()
	_, _ = io.Copy(conn, backend)
}

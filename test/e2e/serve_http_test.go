package e2e

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"fmt"
	"math/big"
	"net"
	"net/http"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/capmon/capmon/internal/testutil/capmontest"
)

// certificate creates files with a certificate for 127.0.0.1 and its key, and a pool that trusts it.
func certificate(t *testing.T) (certFile, keyFile string, pool *x509.CertPool) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "capmon"}, IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour), IsCA: true, BasicConstraintsValid: true,
		KeyUsage: x509.KeyUsageCertSign | x509.KeyUsageDigitalSignature,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	keyDER, err := x509.MarshalECPrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	directory := t.TempDir()
	write := func(name, kind string, der []byte) string {
		path := filepath.Join(directory, name)
		if err := os.WriteFile(path, pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der}), 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	parsed, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	pool = x509.NewCertPool()
	pool.AddCert(parsed)
	return write("cert.pem", "CERTIFICATE", der), write("key.pem", "EC PRIVATE KEY", keyDER), pool
}

// freeAddress returns an address of this machine without a listener.
func freeAddress(t *testing.T) string {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close()
	return listener.Addr().String()
}

func TestServeOverTCPRequiresTheToken(t *testing.T) {
	t.Parallel()
	cert, key, pool := certificate(t)
	token := filepath.Join(t.TempDir(), "token")
	if err := os.WriteFile(token, []byte("0123456789abcdef\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	address := freeAddress(t)
	s := serve(t, "--tcp", address, "--tls-cert", cert, "--tls-key", key, "--token-file", token)
	trusting := &http.Client{Transport: &http.Transport{TLSClientConfig: &tls.Config{RootCAs: pool, MinVersion: tls.VersionTLS12}}}
	for given, want := range map[string]int{"": 401, "0123456789abcdeg": 401, "0123456789abcdef0": 401, "0123456789abcdef": 200} {
		for _, path := range []string{"/metrics", "/healthz", "/api/v1/report", "/api/v1/openapi.json", "/nothing"} {
			want := want
			if want == 200 && path == "/nothing" {
				want = 404
			}
			if status, body, err := capmontest.GetBy(trusting, "https://"+address+path, given); err != nil || status != want {
				t.Errorf("%s with token %q: %d, %s, %v", path, given, status, body, err)
			}
		}
	}
	if status, _, err := capmontest.GetBy(http.DefaultClient, "https://"+address+"/healthz", "0123456789abcdef"); err == nil {
		t.Errorf("a client that does not trust the certificate: %d", status)
	}
	if status, body, err := capmontest.GetBy(http.DefaultClient, "http://"+address+"/healthz", "0123456789abcdef"); err == nil && status != 400 {
		t.Errorf("without TLS: %d, %s", status, body)
	}
	if status, _ := s.Get("/debug/pprof/"); status != 404 {
		t.Errorf("pprof returns %d", status)
	}
}

// Only the permissions of the socket protect it.
func TestSocketOfServeIsForRootAndAGroup(t *testing.T) {
	t.Parallel()
	s := serve(t, "--group", "daemon")
	if err := os.Chmod(filepath.Dir(s.Socket), 0o755); err != nil {
		t.Fatal(err)
	}
	info, err := os.Stat(s.Socket)
	if err != nil {
		t.Fatal(err)
	}
	if mode := info.Mode().Perm(); mode != 0o660 {
		t.Errorf("mode %o", mode)
	}
	request := func(group string) error {
		cmd := exec.Command("curl", "-sf", "--unix-socket", s.Socket, "http://capmon/healthz")
		cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: nobody, Gid: groupID(t, group)}}
		return cmd.Run()
	}
	if err := request("nogroup"); err == nil {
		t.Error("a user outside the group has access")
	}
	if err := request("daemon"); err != nil {
		t.Errorf("a user of the group has no access: %v", err)
	}
}

func groupID(t *testing.T, name string) uint32 {
	t.Helper()
	group, err := user.LookupGroup(name)
	if err != nil {
		t.Fatal(err)
	}
	id, err := strconv.ParseUint(group.Gid, 10, 32)
	if err != nil {
		t.Fatal(err)
	}
	return uint32(id)
}

func TestServeRejectsInvalidOptions(t *testing.T) {
	t.Parallel()
	cert, key, _ := certificate(t)
	directory := t.TempDir()
	file := func(name, text string, mode os.FileMode) string {
		path := filepath.Join(directory, name)
		if err := os.WriteFile(path, []byte(text), mode); err != nil {
			t.Fatal(err)
		}
		return path
	}
	token := file("token", "0123456789abcdef", 0o600)
	secured := []string{"--tls-cert", cert, "--tls-key", key, "--token-file"}
	for want, options := range map[string][]string{
		"--tcp requires TLS and a token":     {"--tcp", "127.0.0.1:0"},
		"also set --tcp":                     {"--token-file", token},
		"others may read the token":          append([]string{"--tcp", "127.0.0.1:0"}, append(secured, file("open", "0123456789abcdef", 0o644))...),
		"at least 16 printable ASCII":        append([]string{"--tcp", "127.0.0.1:0"}, append(secured, file("short", "secret", 0o600))...),
		"reading the certificate":            {"--tcp", "127.0.0.1:0", "--tls-cert", key, "--tls-key", key, "--token-file", file("good", "0123456789abcdef", 0o600)},
		"unknown group":                      {"--group", "no-such-group", "--socket", filepath.Join(directory, "s")},
		"is not a socket":                    {"--socket", token},
		"is too short":                       {"--save-every", "1ms"},
		"--older-than":                       {"--older-than", "yesterday"},
		"is not in a BPF file system":        {"--pins", filepath.Join(directory, "pins")},
		"config.yaml:2: unknown key \"dbb\"": {"--config", file("config.yaml", "save-every: 2s\ndbb: /tmp/x\n", 0o600)},
		"value.yaml:1: save-every":           {"--config", file("value.yaml", "save-every: soon\n", 0o600)},
		"no such file":                       {"--config", filepath.Join(directory, "none.yaml")},
		"list.yaml:1: a configuration":       {"--config", file("list.yaml", "- db\n", 0o600)},
		"it is not a capmon database":        {"--db", token},
	} {
		command := append([]string{binary, "serve", "--db", filepath.Join(directory, "db"), "--socket", "", "--pins", "/sys/fs/bpf/capmon-rejected"}, options...)
		if r := execute(t, command...); r.code != 2 || !strings.Contains(r.stderr, want) {
			t.Errorf("%s: exit code %d, %s", strings.Join(options, " "), r.code, r.stderr)
		}
	}
	// In a cgroup namespace, serve could not detect the end of containers.
	r := execute(t, "unshare", "--cgroup", binary, "serve", "--db", filepath.Join(directory, "db"), "--socket", "", "--pins", "/sys/fs/bpf/capmon-rejected")
	if r.code != 2 || !strings.Contains(r.stderr, "sees only a part") || !strings.Contains(r.stderr, "--cgroupns=host") {
		t.Errorf("in a cgroup namespace: exit code %d, %s", r.code, r.stderr)
	}
}

func TestServeIsConfiguredByAFile(t *testing.T) {
	t.Parallel()
	directory := t.TempDir()
	config := filepath.Join(directory, "serve.yaml")
	wrong := filepath.Join(directory, "wrong.db")
	if err := os.WriteFile(config, fmt.Appendf(nil, "db: %s\npprof: true\nolder-than: 90d\n", wrong), 0o600); err != nil {
		t.Fatal(err)
	}
	s := serve(t, "--config", config) // serve also sets --db
	s.Saved()
	if status, _ := s.Get("/debug/pprof/"); status != 200 {
		t.Errorf("pprof returns %d", status)
	}
	if _, err := os.Stat(wrong); err == nil {
		t.Error("the file overrode the command line")
	}
}

// Prometheus' own tool accepts the metrics.
func TestMetricsAreValid(t *testing.T) {
	t.Parallel()
	s := serve(t)
	check := startChecking(t, "metered")
	check(1)
	s.Saved()
	_, metrics := s.Get("/metrics")
	for _, want := range []string{
		`capability="NET_RAW",container="metered"`, "capmon_build_info{", "capmon_lost_total{what=\"checks\"} 0\n", "capmon_save_failures_total 0\n",
	} {
		if !strings.Contains(metrics, want) {
			t.Errorf("the metrics have no %s", want)
		}
	}
	cmd := exec.Command(prometheusProgram(t, "promtool"), "check", "metrics")
	cmd.Stdin = strings.NewReader(metrics)
	if out, err := cmd.CombinedOutput(); err != nil || len(bytes.TrimSpace(out)) > 0 {
		t.Errorf("promtool: %v\n%s", err, out)
	}
}

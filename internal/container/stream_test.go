package container

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/docker/docker/client"
)

// one is the ID of a container.
var one = strings.Repeat("1a", 32)

// raw is a connection to a proxy without a Docker client.
type raw struct {
	*net.UnixConn
	reader *bufio.Reader
}

func request(t *testing.T, host, request string) raw {
	t.Helper()
	conn, err := net.Dial("unix", strings.TrimPrefix(host, "unix://"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	if _, err := io.WriteString(conn, request); err != nil {
		t.Fatal(err)
	}
	return raw{conn.(*net.UnixConn), bufio.NewReader(conn)}
}

// head reads the head of a reply.
func head(t *testing.T, conn raw, status string) {
	t.Helper()
	line, err := conn.reader.ReadString('\n')
	if err != nil || !strings.HasPrefix(line, "HTTP/1.1 "+status) {
		t.Fatalf("got %q, %v; want %s", line, err, status)
	}
	for line != "\r\n" {
		if line, err = conn.reader.ReadString('\n'); err != nil {
			t.Fatal(err)
		}
	}
}

// fake returns an engine whose answers a test provides.
func fake(t *testing.T, handler http.HandlerFunc) *Docker {
	t.Helper()
	socket := filepath.Join(t.TempDir(), "docker.sock")
	listener, err := net.Listen("unix", socket)
	if err != nil {
		t.Fatal(err)
	}
	server := httptest.NewUnstartedServer(handler)
	server.Listener.Close()
	server.Listener = listener
	server.Start()
	t.Cleanup(server.Close)
	return at(t, "unix://"+socket)
}

func at(t *testing.T, host string) *Docker {
	t.Helper()
	api, err := client.NewClientWithOpts(client.WithHost(host))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { api.Close() })
	return &Docker{client: api, endpoint: host}
}

func TestTheSocketsPathMayBeTooLong(t *testing.T) {
	long := filepath.Join(t.TempDir(), strings.Repeat("long", 30))
	if err := os.Mkdir(long, 0o700); err != nil {
		t.Fatal(err)
	}
	t.Setenv("TMPDIR", long)
	p, err := NewProxy(at(t, "unix:///nowhere/docker.sock"), nil)
	if err == nil || !strings.Contains(err.Error(), "TMPDIR") {
		t.Errorf("got %v, %v; want advice", p, err)
	}
	if left, _ := os.ReadDir(long); len(left) > 0 {
		t.Errorf("%v is left", left)
	}
}

func TestAnEngineThatIsAway(t *testing.T) {
	cli, _ := proxy(t, at(t, "unix:///nowhere/docker.sock"))
	for _, path := range []string{"/containers/json", "/containers/x/start", "/containers/x/attach", "/containers/create"} {
		conn := request(t, cli.host, "POST "+path+" HTTP/1.1\r\nHost: docker\r\nContent-Length: 0\r\n\r\n")
		reply, err := http.ReadResponse(conn.reader, nil)
		if err != nil {
			t.Fatal(err)
		}
		var said struct{ Message string }
		err = json.NewDecoder(reply.Body).Decode(&said)
		if reply.StatusCode != http.StatusBadGateway || err != nil || !strings.Contains(said.Message, "cannot reach Docker at unix:///nowhere/docker.sock: dial unix") {
			t.Errorf("%s: got %s, %+v, %v", path, reply.Status, said, err)
		}
	}
	out, err := cli.command("ps").CombinedOutput()
	if err == nil || !strings.Contains(string(out), "capmon cannot reach Docker at unix:///nowhere/docker.sock") {
		t.Errorf("docker ps: got %s, %v", out, err)
	}
}

func TestRequestsPassUnchanged(t *testing.T) {
	lines := make(chan string, 1)
	docker := fake(t, func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		header := r.Header.Clone()
		lines <- fmt.Sprint(r.Method, " ", r.RequestURI, " ", r.Host, " ", header, " ", string(body))
		w.Header()["X-Reply"] = []string{"a", "b"}
		w.WriteHeader(http.StatusTeapot)
		_, _ = io.WriteString(w, "reply")
	})
	cli, _ := proxy(t, docker)
	for _, path := range []string{"/v9.99/unheard/of", "/containers/x/attach"} {
		conn := request(t, cli.host, "PUT "+path+`?filters={"a":"b;c"}&x=%2F;&y HTTP/1.1`+"\r\nHost: docker\r\nX-Registry-Auth: secret\r\nContent-Length: 4\r\n\r\nbody")
		want := "PUT " + path + `?filters={"a":"b;c"}&x=%2F;&y docker map[Content-Length:[4] X-Registry-Auth:[secret]] body`
		if got := <-lines; got != want {
			t.Errorf("the engine got\n%s, want\n%s", got, want)
		}
		reply, err := http.ReadResponse(conn.reader, nil)
		if err != nil {
			t.Fatal(err)
		}
		body, err := io.ReadAll(reply.Body)
		if reply.StatusCode != http.StatusTeapot || len(reply.Header["X-Reply"]) != 2 || string(body) != "reply" {
			t.Errorf("the client got %+v, %q, %v", reply, body, err)
		}
	}
}

// Some HTTP clients offer an upgrade with each request (Upgrade: TLS/1.2, Upgrade: h2c), which servers may ignore.
func TestACreationWithAnUpgradeIsReported(t *testing.T) {
	var reported atomic.Value
	p, err := NewProxy(fake(t, func(w http.ResponseWriter, _ *http.Request) {
		w.WriteHeader(http.StatusCreated)
		_, _ = io.WriteString(w, `{"Id":"`+one+`","Warnings":[]}`)
	}), func(_ context.Context, id string) { reported.Store(id) })
	if err != nil {
		t.Fatal(err)
	}
	defer p.Close()
	conn := request(t, p.Host(), "POST /v1.41/containers/create?name=x HTTP/1.1\r\nHost: docker\r\nConnection: Upgrade\r\nUpgrade: TLS/1.2\r\nContent-Length: 2\r\n\r\n{}")
	reply, err := http.ReadResponse(conn.reader, nil)
	if err != nil {
		t.Fatal(err)
	}
	if got := reported.Load(); got != one {
		t.Errorf("reported %v when the reply was there", got)
	}
	if body, err := io.ReadAll(reply.Body); err != nil || string(body) != `{"Id":"`+one+`","Warnings":[]}` || reply.StatusCode != http.StatusCreated {
		t.Errorf("got %s %q, %v", reply.Status, body, err)
	}
}

func TestFailedCreationsAreNotReported(t *testing.T) {
	cli, seen := proxy(t, fake(t, func(w http.ResponseWriter, _ *http.Request) {
		http.Error(w, `{"message":"no","Id":"`+one+`"}`, http.StatusConflict)
	}))
	conn := request(t, cli.host, "POST /containers/create HTTP/1.1\r\nHost: docker\r\nContent-Length: 2\r\n\r\n{}")
	head(t, conn, "409")
	if got := seen.ids(); len(got) > 0 {
		t.Errorf("reported %v", got)
	}
}

func TestDisconnectingClientCancelsItsRequest(t *testing.T) {
	begun, ended := make(chan struct{}), make(chan struct{})
	cli, _ := proxy(t, fake(t, func(w http.ResponseWriter, r *http.Request) {
		w.(http.Flusher).Flush()
		close(begun)
		<-r.Context().Done()
		close(ended)
	}))
	conn := request(t, cli.host, "GET /events HTTP/1.1\r\nHost: docker\r\n\r\n")
	<-begun
	head(t, conn, "200")
	conn.Close()
	<-ended
}

// streaming returns a client of an engine that serves the stdin and stdout of a container.
func streaming(t *testing.T, reply string, serve func(conn *net.UnixConn)) through {
	t.Helper()
	cli, _ := proxy(t, fake(t, func(w http.ResponseWriter, r *http.Request) {
		conn, _, err := w.(http.Hijacker).Hijack()
		if err != nil {
			t.Error(err)
			return
		}
		defer conn.Close()
		_, _ = io.WriteString(conn, reply)
		serve(conn.(*net.UnixConn))
	}))
	return cli
}

const (
	upgraded = "HTTP/1.1 101 UPGRADED\r\nContent-Type: application/vnd.docker.raw-stream\r\nConnection: Upgrade\r\nUpgrade: tcp\r\n\r\n"
	oldStyle = "HTTP/1.1 200 OK\r\nContent-Type: application/vnd.docker.raw-stream\r\n\r\n"
	attach   = "POST /containers/x/attach?stream=1 HTTP/1.1\r\nHost: docker\r\n"
	upgrade  = "Connection: Upgrade\r\nUpgrade: tcp\r\n"
)

// Clients before 2014, and some simple newer ones, do not request an upgrade.
func TestStreamsWithAndWithoutAnUpgrade(t *testing.T) {
	for name, test := range map[string]struct{ request, reply, status string }{
		"with":    {attach + upgrade + "\r\n", upgraded, "101"},
		"without": {attach + "\r\n", oldStyle, "200"},
	} {
		t.Run(name, func(t *testing.T) {
			cli := streaming(t, test.reply, func(conn *net.UnixConn) {
				input, _ := io.ReadAll(conn)
				fmt.Fprintf(conn, "got %s", input)
			})
			// Send data with the request, and more data later.
			conn := request(t, cli.host, test.request+"early ")
			head(t, conn, test.status)
			if _, err := io.WriteString(conn, "late"); err != nil {
				t.Fatal(err)
			}
			if err := conn.CloseWrite(); err != nil {
				t.Fatal(err)
			}
			if got, err := io.ReadAll(conn.reader); err != nil || string(got) != "got early late" {
				t.Errorf("got %q, %v", got, err)
			}
		})
	}
}

func TestOutputSentWithTheHeadIsNotLost(t *testing.T) {
	cli := streaming(t, upgraded+"at once", func(*net.UnixConn) {})
	conn := request(t, cli.host, attach+upgrade+"\r\n")
	head(t, conn, "101")
	if got, err := io.ReadAll(conn.reader); err != nil || string(got) != "at once" {
		t.Errorf("got %q, %v", got, err)
	}
}

// An engine that has ended its output may still accept input. The client must get all output even if it continues to
// write.
func TestEndOfOutputIsPassedOn(t *testing.T) {
	input := make(chan string)
	cli := streaming(t, upgraded, func(conn *net.UnixConn) {
		_, _ = io.WriteString(conn, "bye")
		_ = conn.CloseWrite()
		got, _ := io.ReadAll(conn)
		input <- string(got)
	})
	conn := request(t, cli.host, attach+upgrade+"\r\n")
	head(t, conn, "101")
	if got, err := io.ReadAll(conn.reader); err != nil || string(got) != "bye" {
		t.Errorf("got %q, %v", got, err)
	}
	if _, err := io.WriteString(conn, "still here"); err != nil {
		t.Fatal(err)
	}
	conn.Close()
	if got := <-input; got != "still here" {
		t.Errorf("the engine got %q", got)
	}
}

// A container that does not read its stdin ends anyway.
func TestUnreadInputDoesNotLoseOutput(t *testing.T) {
	cli := streaming(t, upgraded, func(conn *net.UnixConn) {
		_ = conn.CloseRead()
		_, _ = io.Copy(conn, noise(1<<20))
	})
	conn := request(t, cli.host, attach+upgrade+"\r\n")
	head(t, conn, "101")
	written := make(chan error)
	go func() {
		_, err := io.Copy(conn, noise(1<<30))
		written <- err
	}()
	if err := <-written; err == nil {
		t.Error("the proxy accepted a gigabyte for an engine that reads nothing")
	}
	if got, err := io.ReadAll(conn.reader); err != nil || len(got) != 1<<20 {
		t.Errorf("got %d bytes, %v", len(got), err)
	}
}

// docker attach may be killed: the engine must not wait for ever for a client that has disconnected. A client that has
// only ended its input still receives output.
func TestDisconnectingClientEndsItsStream(t *testing.T) {
	gone := make(chan bool)
	cli := streaming(t, upgraded, func(conn *net.UnixConn) {
		_, _ = io.ReadAll(conn) // the end of input comes first
		_, _ = io.WriteString(conn, "heard")
		gone <- awaitHangup(conn)
	})
	conn := request(t, cli.host, attach+upgrade+"\r\n")
	head(t, conn, "101")
	if err := conn.CloseWrite(); err != nil {
		t.Fatal(err)
	}
	heard := make([]byte, len("heard"))
	if _, err := io.ReadFull(conn.reader, heard); err != nil {
		t.Errorf("the stream ended with the input: %v", err)
	}
	conn.Close()
	if !<-gone {
		t.Error("the engine was not disconnected after the client")
	}
}

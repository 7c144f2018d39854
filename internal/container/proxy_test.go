package container

import (
	"bufio"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"

	"github.com/capmon/capmon/internal/containerid"
	"github.com/capmon/capmon/internal/testutil"
)

func TestRunIsReportedOnceAndBeforeItStarts(t *testing.T) {
	docker, name := engine(t), testutil.UnusedName()
	cli, seen := proxy(t, docker)
	if got := cli.output("run", "--rm", "--name", name, "bb", "echo", "hello"); got != "hello" {
		t.Errorf("got %q", got)
	}
	if got := seen.all(); len(got) != 1 || got[0].Name != name || got[0].Running || !got[0].StartedAt.IsZero() {
		t.Errorf("reported %+v", got)
	}
}

func TestExitCodes(t *testing.T) {
	cli, _ := proxy(t, engine(t))
	for want, args := range map[int][]string{
		0:   {"run", "--rm", "bb", "true"},
		3:   {"run", "--rm", "bb", "sh", "-c", "exit 3"},
		125: {"run", "--rm", "--network", testutil.UnusedName(), "bb", "true"},
		127: {"run", "--rm", "bb", "/nowhere"},
	} {
		cmd := cli.command(args...)
		_ = cmd.Run()
		if got := cmd.ProcessState.ExitCode(); got != want {
			t.Errorf("docker %s: exit code %d, want %d", strings.Join(args, " "), got, want)
		}
	}
}

func TestEndOfInputIsPassedOn(t *testing.T) {
	cli, _ := proxy(t, engine(t))
	id := cli.run("bb", "sleep", "600")
	for _, args := range [][]string{
		{"run", "-i", "--rm", "bb", "sh", "-c", "cat; echo end"},
		{"exec", "-i", id, "sh", "-c", "cat; echo end"},
		{"start", "-a", "-i", cli.create("-i", "bb", "sh", "-c", "cat; echo end")},
	} {
		for _, input := range []string{"", "hello\n"} {
			cmd := cli.command(args...)
			cmd.Stdin = strings.NewReader(input)
			if out, err := cmd.Output(); err != nil || string(out) != input+"end\n" {
				t.Errorf("docker %s: got %q, %v", strings.Join(args, " "), out, err)
			}
		}
	}
}

// noise returns the same incompressible data on each call.
func noise(size int64) io.Reader {
	return io.LimitReader(rand.NewChaCha8([32]byte{}), size)
}

func checksum(t *testing.T, r io.Reader) string {
	t.Helper()
	hash := sha256.New()
	if _, err := io.Copy(hash, r); err != nil {
		t.Fatal(err)
	}
	return hex.EncodeToString(hash.Sum(nil))
}

const large = 50 << 20

func TestLargeStreamsAreUnchanged(t *testing.T) {
	cli, _ := proxy(t, engine(t))
	cmd := cli.command("run", "-i", "--rm", "--log-driver", "none", "bb", "cat")
	cmd.Stdin = noise(large)
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	got := checksum(t, out)
	if err := cmd.Wait(); err != nil {
		t.Fatal(err)
	}
	if want := checksum(t, noise(large)); got != want {
		t.Errorf("got %s, want %s", got, want)
	}
}

func TestArchivesAreUnchanged(t *testing.T) {
	cli, _ := proxy(t, engine(t))
	directory := t.TempDir()
	file := filepath.Join(directory, "file")
	out, err := os.Create(file)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := io.Copy(out, noise(large)); err != nil {
		t.Fatal(err)
	}
	if err := out.Close(); err != nil {
		t.Fatal(err)
	}
	want := checksum(t, noise(large))

	id := cli.run("bb", "sleep", "600")
	cli.output("cp", file, id+":/tmp/there")
	cli.output("cp", id+":/tmp/there", file+".back")
	back, err := os.Open(file + ".back")
	if err != nil {
		t.Fatal(err)
	}
	defer back.Close()
	if got := checksum(t, back); got != want {
		t.Errorf("docker cp: got %s, want %s", got, want)
	}

	// A tar file as the streamed body of docker import, and as the reply to docker export.
	image := testutil.UnusedName()
	tar := exec.Command("tar", "-C", directory, "-c", "file")
	archive, err := tar.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	imported := cli.command("import", "-", image)
	imported.Stdin = archive
	if err := tar.Start(); err != nil {
		t.Fatal(err)
	}
	if out, err := imported.CombinedOutput(); err != nil {
		t.Fatalf("docker import: %v\n%s", err, out)
	}
	if err := tar.Wait(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = exec.Command("docker", "rmi", "-f", image).Run() })
	saved := filepath.Join(directory, "saved.tar")
	cli.output("save", "-o", saved, image)
	cli.output("rmi", image)
	if got := cli.output("load", "-i", saved); !strings.Contains(got, image) {
		t.Errorf("docker load: %s", got)
	}
	exported := cli.command("export", cli.create(image, "/none"))
	extract := exec.Command("tar", "-x", "-O", "-f", "-", "file")
	if extract.Stdin, err = exported.StdoutPipe(); err != nil {
		t.Fatal(err)
	}
	content, err := extract.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := exported.Start(); err != nil {
		t.Fatal(err)
	}
	if err := extract.Start(); err != nil {
		t.Fatal(err)
	}
	if got := checksum(t, content); got != want {
		t.Errorf("docker export: got %s, want %s", got, want)
	}
	if err := extract.Wait(); err != nil {
		t.Error(err)
	}
	if err := exported.Wait(); err != nil {
		t.Error(err)
	}
}

func TestTerminal(t *testing.T) {
	cli, seen := proxy(t, engine(t))
	cmd := exec.CommandContext(t.Context(), "script", "-qec", `docker run -it --rm bb sh -c 'stty size && read line && echo "got $line"'`, "/dev/null")
	cmd.Env = append(os.Environ(), "DOCKER_HOST="+cli.host)
	cmd.Stdin = strings.NewReader("hello\n")
	out, err := cmd.CombinedOutput()
	if err != nil || !strings.Contains(string(out), "got hello\r\n") {
		t.Errorf("got %q, %v", out, err)
	}
	if len(seen.ids()) != 1 {
		t.Errorf("reported %v", seen.ids())
	}
}

// following reads the output of a running command line by line.
type following struct {
	*exec.Cmd
	lines *bufio.Reader
}

func follow(t *testing.T, cmd *exec.Cmd) following {
	t.Helper()
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	return following{cmd, bufio.NewReader(out)}
}

func (f following) expect(t *testing.T, want string) {
	t.Helper()
	if line, err := f.lines.ReadString('\n'); err != nil || line != want+"\n" {
		t.Fatalf("%s: got %q, %v; want %q", strings.Join(f.Args, " "), line, err, want)
	}
}

// ended waits for the end of a command that prints nothing more.
func (f following) ended(t *testing.T) int {
	t.Helper()
	if rest, err := io.ReadAll(f.lines); err != nil || len(rest) > 0 {
		t.Errorf("%s: unexpected output %q, %v", strings.Join(f.Args, " "), rest, err)
	}
	_ = f.Wait()
	return f.ProcessState.ExitCode()
}

func TestStreamsArePassedOnImmediately(t *testing.T) {
	cli, seen := proxy(t, engine(t))
	id := cli.output("run", "-d", "bb", "sh", "-c", "mkfifo /tmp/go; trap 'echo term; exit 7' TERM; echo first; read x </tmp/go; echo second; sleep 600 & wait")
	t.Cleanup(func() { _ = exec.Command("docker", "rm", "-f", id).Run() })
	if !slices.Equal(seen.ids(), []string{id}) {
		t.Errorf("reported %v, want %s", seen.ids(), id)
	}
	events := follow(t, cli.command("events", "--filter", "container="+id, "--filter", "event=die", "--format", "{{.Action}}"))
	logs := follow(t, cli.command("logs", "-f", id))
	waits := follow(t, cli.command("wait", id))
	attached := follow(t, cli.command("attach", "--no-stdin", id))
	logs.expect(t, "first")
	cli.output("exec", id, "sh", "-c", "echo >/tmp/go")
	logs.expect(t, "second")
	cli.output("kill", "--signal", "TERM", id)
	logs.expect(t, "term")
	waits.expect(t, "7")
	events.expect(t, "die")
	if code := logs.ended(t); code != 0 {
		t.Errorf("docker logs ended with %d", code)
	}
	if code := waits.ended(t); code != 0 {
		t.Errorf("docker wait ended with %d", code)
	}
	_, _ = io.Copy(io.Discard, attached.lines) // its start depends on when it was attached
	_ = attached.Wait()
	if code := attached.ProcessState.ExitCode(); code != 7 {
		t.Errorf("docker attach ended with %d", code)
	}
	_ = events.Process.Signal(os.Interrupt)
	events.ended(t)
}

func TestSignalsReachTheContainer(t *testing.T) {
	cli, _ := proxy(t, engine(t))
	run := follow(t, cli.command("run", "--rm", "bb", "sh", "-c", "trap 'echo term; exit 9' TERM; echo ready; sleep 600 & wait"))
	run.expect(t, "ready")
	if err := run.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	run.expect(t, "term")
	if code := run.ended(t); code != 9 {
		t.Errorf("exit code %d", code)
	}
}

func TestExistingContainersAreReportedWhenTheyStart(t *testing.T) {
	cli, seen := proxy(t, engine(t))
	direct, name := through{t: t}, testutil.UnusedName()
	first := direct.create("--name", name, "bb", "true")
	second := direct.create("bb", "true")
	third := direct.run("bb", "sleep", "600")
	fourth := direct.run("bb", "sleep", "600")

	cli.output("start", "-a", name)
	if got := seen.all(); len(got) != 1 || got[0].Running {
		t.Errorf("reported %+v", got)
	}
	cli.output("start", "-a", containerid.Short(second))
	cli.output("restart", "-t", "0", third)
	cli.output("start", "-a", first)
	cli.output("exec", fourth, "true")
	cli.output("inspect", fourth)
	cli.output("pause", fourth)
	cli.output("unpause", fourth)
	if err := cli.command("start", testutil.UnusedName()).Run(); err == nil {
		t.Error("a container that does not exist was started")
	}
	if want := []string{first, second, third}; !slices.Equal(seen.ids(), want) {
		t.Errorf("reported %v, want %v", seen.ids(), want)
	}
}

func TestConcurrentContainersAreReportedOnceEach(t *testing.T) {
	cli, seen := proxy(t, engine(t))
	const many = 20
	var want []string
	var mu sync.Mutex
	var runs sync.WaitGroup
	for i := range many {
		runs.Go(func() {
			name := testutil.UnusedName()
			out, err := cli.command("run", "--rm", "--name", name, "bb", "echo", fmt.Sprint(i)).Output()
			if err != nil || string(out) != fmt.Sprintln(i) {
				t.Errorf("container %d: %v\n%s", i, err, out)
			}
			mu.Lock()
			defer mu.Unlock()
			want = append(want, name)
		})
	}
	runs.Wait()
	var got []string
	for _, info := range seen.all() {
		got = append(got, info.Name)
	}
	slices.Sort(want)
	slices.Sort(got)
	if !slices.Equal(got, want) {
		t.Errorf("reported %v, want %v", got, want)
	}
}

func TestCloseEndsEverything(t *testing.T) {
	docker := engine(t)
	id := through{t: t}.run("-i", "bb", "sh", "-c", "echo ready; cat; sleep 600")
	goroutines, files := runtime.NumGoroutine(), openFiles(t)
	p, err := NewProxy(docker, func(context.Context, string) {})
	if err != nil {
		t.Fatal(err)
	}
	directory := filepath.Dir(strings.TrimPrefix(p.Host(), "unix://"))
	if info, err := os.Stat(directory); err != nil || info.Mode().Perm() != 0o700 {
		t.Errorf("%v, %v: want a directory that only this user can use", info, err)
	}
	cli := through{t, p.Host()}
	cli.output("ps")
	var all []following
	for _, args := range [][]string{{"logs", "-f", id}, {"attach", "--sig-proxy=false", id}, {"exec", "-i", id, "sh", "-c", "echo ready; cat"}} {
		cmd := cli.command(args...)
		stdin, err := cmd.StdinPipe()
		if err != nil {
			t.Fatal(err)
		}
		defer stdin.Close()
		one := follow(t, cmd)
		if args[0] == "attach" {
			fmt.Fprintln(stdin, "ready") // cat sends it back
		}
		one.expect(t, "ready")
		all = append(all, one)
	}
	for range 2 {
		if err := p.Close(); err != nil {
			t.Error(err)
		}
	}
	for _, one := range all {
		_, _ = io.Copy(io.Discard, one.lines)
		_ = one.Wait()
	}
	if _, err := os.Stat(directory); !os.IsNotExist(err) {
		t.Errorf("the directory still exists: %v", err)
	}
	if out, err := cli.command("ps").CombinedOutput(); err == nil {
		t.Errorf("the proxy still answers: %s", out)
	}
	if got := (through{t: t}).output("inspect", "-f", "{{.State.Running}}", id); got != "true" {
		t.Errorf("the container no longer runs: %s", got)
	}
	testutil.Eventually(t, "as many goroutines as before", func() bool { return runtime.NumGoroutine() <= goroutines })
	testutil.Eventually(t, "as many open files as before", func() bool { return openFiles(t) <= files })
}

func openFiles(t *testing.T) int {
	t.Helper()
	entries, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		t.Fatal(err)
	}
	return len(entries)
}

func TestBuildKitStreamsArePassedOn(t *testing.T) {
	cli, _ := proxy(t, engine(t))
	for _, path := range []string{"/grpc", "/v1.40/grpc"} {
		conn := request(t, cli.host, "POST "+path+" HTTP/1.1\r\nHost: docker\r\nConnection: Upgrade\r\nUpgrade: h2c\r\nContent-Length: 0\r\n\r\n")
		head(t, conn, "101")
		// The engine is HTTP/2's server: both sides begin with their SETTINGS.
		if _, err := conn.Write([]byte("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\x00\x00\x00\x04\x00\x00\x00\x00\x00")); err != nil {
			t.Fatal(err)
		}
		frame := make([]byte, 9)
		if _, err := io.ReadFull(conn.reader, frame); err != nil || frame[3] != 4 {
			t.Errorf("%s: got frame %x, %v; want SETTINGS", path, frame, err)
		}
	}
}

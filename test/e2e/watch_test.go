package e2e

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"
	"unicode"

	"golang.org/x/sys/unix"

	"github.com/capmon/capmon/internal/testutil"
	"github.com/capmon/capmon/internal/uses"
)

// livewatch is a running capmon watch.
type livewatch struct {
	*observation
	lines testutil.Transcript
}

// watchLive starts capmon watch with JSON output and returns once it records every check.
func watchLive(t *testing.T, args ...string) *livewatch {
	t.Helper()
	return watchLiveAt(t, os.Getenv("DOCKER_HOST"), append([]string{"-o", "json"}, args...)...)
}

// watchLiveAt is like [watchLive], but with the engine at this host, and with any output format.
func watchLiveAt(t *testing.T, host string, args ...string) *livewatch {
	t.Helper()
	l := &livewatch{}
	l.observation = watchBy(t, func(cmd *exec.Cmd) error {
		cmd.Env = append(os.Environ(), "DOCKER_HOST="+host)
		cmd.Stdout = &l.lines
		return cmd.Start()
	}, append([]string{binary, "watch"}, args...)...)
	t.Cleanup(func() { // only if the test has failed
		select {
		case <-l.Ended:
		default:
			_ = l.Child.Kill()
		}
	})
	return l
}

// uses returns the uses that watch has printed so far.
func (l *livewatch) uses() (all []uses.Use) {
	l.T.Helper()
	for line := range strings.Lines(l.lines.String()) {
		if !strings.HasSuffix(line, "\n") {
			break // an incomplete line
		}
		var use uses.Use
		if err := json.Unmarshal([]byte(line), &use); err != nil {
			l.T.Fatalf("not JSON: %v\n%s", err, line)
		}
		all = append(all, use)
	}
	return all
}

// of waits for the first use of a container, by name or ID.
func (l *livewatch) of(container string) (use uses.Use) {
	l.T.Helper()
	eventually(l.T, "there is a use of "+container, func() bool {
		all := l.uses()
		i := slices.IndexFunc(all, func(u uses.Use) bool { return u.Container.Name == container || u.Container.ID == container })
		if i >= 0 {
			use = all[i]
		}
		return i >= 0
	})
	return use
}

// endWith ends watch with Ctrl-C and returns all uses of a container.
func (l *livewatch) endWith(container string) (all []uses.Use) {
	l.T.Helper()
	r := l.interrupt()
	if r.code != 0 || !strings.Contains(r.stderr, " container") {
		l.T.Errorf("exit code %d\n%s", r.code, r.stderr)
	}
	for _, use := range l.uses() {
		if use.Container.Name == container {
			all = append(all, use)
		}
	}
	return all
}

// sockets are the kinds of raw socket, with the arguments of probe that open them.
var sockets = []struct {
	name    string
	probe   string
	call    string // as watch prints it
	family  uses.RawSocket
	options []string
}{
	{"ipv4", "rawsock", "socket(AF_INET, SOCK_RAW, ICMP)", uses.IPv4, nil},
	{"ipv4-any-protocol", "socket 2 3 253", "socket(AF_INET, SOCK_RAW, 253)", uses.IPv4, nil},
	{"ipv6", "socket 10 3 58", "socket(AF_INET6, SOCK_RAW, ICMPV6)", uses.IPv6, nil},
	{"packet", "socket 17 3 768", "socket(AF_PACKET, SOCK_RAW, ETH_P_ALL)", uses.Packet, nil},
	{"packet-cooked", "socket 17 2 768", "socket(AF_PACKET, SOCK_DGRAM, ETH_P_ALL)", uses.Packet, nil},
	{"xdp", "socket 44 3 0", "socket(AF_XDP, SOCK_RAW, 0)", uses.XDP, nil},
	{"32-bit", "compat-socket 2 3 1", "socketcall", uses.IPv4, []string{"--security-opt=seccomp=unconfined"}},
	{"io-uring", "io-uring-socket 2 3 1", "io_uring_enter", uses.IPv4, []string{"--security-opt=seccomp=unconfined"}},
}

func TestEveryRawSocketIsReportedAtOnce(t *testing.T) {
	t.Parallel()
	l := watchLive(t, "--cap", "cap_net_raw", "--container", "alert-raw-*")
	alerts := watchLive(t, "--rules", "builtin", "--container", "alert-raw-*")
	for _, socket := range sockets {
		for _, granted := range []bool{true, false} {
			name, command := fmt.Sprintf("alert-raw-%s-%v", socket.name, granted), "probe "+socket.probe
			options := socket.options
			if !granted {
				options, command = slices.Concat(options, []string{"--cap-drop=NET_RAW"}), "! "+command
			}
			mustExecute(t, slices.Concat([]string{"docker", "run", "--rm", "--name", name}, options, []string{"bb"}, sh(command))...)
			use := l.of(name) // while watch runs
			want := uses.Use{
				Schema: 2, Time: use.Time, First: true, Count: 1, Capability: use.Capability, Class: "required", Granted: granted, RawSocket: true,
				Family: socket.family, Call: socket.call, Site: use.Site, Stack: use.Stack, Reason: use.Reason,
			}
			if !granted {
				want.Class = "denied"
			}
			got := use
			got.Container, got.Process = uses.ContainerRef{}, uses.Process{}
			if fmt.Sprint(got) != fmt.Sprint(want) || use.Capability.String() != "NET_RAW" || use.Container.Image != "bb:latest" || use.Site == "" {
				t.Errorf("%s: got %+v, wanted %+v", name, use, want)
			}
			p := use.Process
			if p.Program != "probe" || p.Executable != "/bin/probe" || p.PID == 0 || p.InnerPID == 0 || p.PID == p.InnerPID || *p.User != 0 || p.MoreParents {
				t.Errorf("%s: by %+v", name, p)
			}
		}
	}
	var summaries []string
	for _, socket := range sockets {
		for _, outcome := range []string{"false (bb:latest)", "true (bb:latest)"} {
			verb := map[bool]string{true: "opened by", false: "denied to"}[strings.HasPrefix(outcome, "true")]
			summaries = append(summaries, fmt.Sprintf("raw socket (%s) %s probe in alert-raw-%s-%s", socket.family, verb, socket.name, outcome))
		}
	}
	alerts.endAlerts()
	var got []string
	for _, one := range alerts.alerts() {
		got = append(got, one.Summary)
	}
	slices.Sort(got)
	slices.Sort(summaries)
	same(t, "alerts", got, summaries)
	shown := l.uses()
	r := l.interrupt()
	if got := l.uses(); len(got) != 2*len(sockets) || len(got) != len(shown) {
		t.Errorf("%d uses, %d before the end: %+v", len(got), len(shown), got)
	}
	// Other containers may flood the machine and the kernel may drop messages. That loses no uses.
	if want := fmt.Sprintf("capmon: %d uses in %[1]d containers, nothing lost", 2*len(sockets)); r.code != 0 || !strings.Contains(r.stderr, want) {
		t.Errorf("exit code %d, %s", r.code, r.stderr)
	}
	for line := range strings.Lines(l.lines.String()) {
		valid(t, "watch", line)
	}
}

// watch reports other uses of CAP_NET_RAW as what they are, not as raw sockets. Calls without CAP_NET_RAW are not
// reported.
func TestOtherUsesOfNetRawAreNotRawSockets(t *testing.T) {
	t.Parallel()
	l := watchLive(t)
	mustExecute(t, "docker", "run", "--rm", "--name", "live-options", "bb", "sh", "-c",
		"probe socket 2 2 1 && probe socket 2 1 6 && probe setsockopt 1 36 1 && probe setsockopt 0 19 1 && probe setuid0 && probe fork 3")
	mustExecute(t, "docker", "run", "--rm", "--name", "live-nothing", "bb", "true") // only its runtime setup
	var got []string
	for _, use := range l.endWith("live-options") {
		got = append(got, fmt.Sprint(use.Capability, " ", use.Call, " ", use.RawSocket, use.Family))
	}
	if want := []string{"NET_RAW setsockopt(SOL_SOCKET, SO_MARK) false", "NET_RAW setsockopt(IPPROTO_IP, IP_TRANSPARENT) false"}; !slices.Equal(got, want) {
		t.Errorf("got %q, wanted %q", got, want)
	}
	for _, use := range l.uses() {
		if use.Container.Name == "live-nothing" {
			t.Errorf("%+v", use)
		}
	}
}

func TestRawSocketsInANestedUserNamespaceAreMarked(t *testing.T) {
	t.Parallel()
	l := watchLive(t, "--cap", "NET_RAW")
	mustExecute(t, "docker", "run", "--rm", "--name", "live-nested", "--security-opt=seccomp=unconfined", "--user=1000", "bb", "unshare", "-Urn", "probe", "rawsock")
	all := l.endWith("live-nested")
	if len(all) != 1 || !all[0].Nested || !all[0].RawSocket || !all[0].Granted || all[0].Class != "nested-userns" || *all[0].Process.User != 1000 {
		t.Errorf("%+v", all)
	}
}

// Each pattern of use is reported once, however often and by however many processes it occurs.
func TestOnlyTheFirstUseIsReported(t *testing.T) {
	t.Parallel()
	startSleeper(t, "live-first")
	startSleeper(t, "live-other")
	l := watchLive(t, "live-first")
	mustExecute(t, "docker", "exec", "live-other", "probe", "rawsock")
	mustExecute(t, "docker", "exec", "live-first", "sh", "-c", "probe repeat 5 socket 2 3 1; probe socket 2 3 6; probe chown-open /tmp 5; sh -c 'probe chown-open /tmp 0; true'")
	var got []string
	for _, use := range l.endWith("live-first") {
		got = append(got, fmt.Sprint(use.Capability, " ", use.Call, " ", len(use.Process.Parents)))
	}
	if want := []string{"NET_RAW socket(AF_INET, SOCK_RAW, ICMP) 1", "CHOWN fchown 1"}; !slices.Equal(got, want) {
		t.Errorf("got %q, wanted %q", got, want)
	}
	if len(l.uses()) != 2 {
		t.Errorf("other uses are reported: %+v", l.uses())
	}
}

func TestWatchSelects(t *testing.T) {
	t.Parallel()
	run := func(name string) {
		mustExecute(t, "docker", "run", "--rm", "--name", name, "--label", "kind="+name, "--cap-drop=CHOWN", "bb", "sh", "-c", "probe rawsock; chown 5 /tmp; chroot / true; probe setuid0; cat /data/secret")
	}
	watches := make(map[string]*livewatch)
	for args := range selections {
		watches[args] = watchLive(t, strings.Fields(args)...)
	}
	run("live-one")
	run("live-two")
	for args, l := range watches {
		l.interrupt()
		var got []string
		for _, use := range l.uses() {
			if name, ours := strings.CutPrefix(use.Container.Name, "live-"); ours && (name == "one" || name == "two") {
				got = append(got, name+" "+use.Capability.String())
			}
		}
		slices.Sort(got)
		if got, want := strings.Join(got, ", "), selections[args]; got != want {
			t.Errorf("%s: got %s, wanted %s", args, got, want)
		}
	}
}

// selections has options of watch, and the uses of TestWatchSelects that they leave.
var selections = map[string]string{
	"--container live-one": "one CHOWN, one DAC_OVERRIDE, one NET_RAW, one SYS_CHROOT",
	"--container live-one --image bb:latest --label kind --cap Chown,CAP_net_raw": "one CHOWN, one NET_RAW",
	"--label kind=live-two --denied-only":                                         "two CHOWN",
	"--container live-* --granted-only --cap NET_RAW,CHOWN":                       "one NET_RAW, two NET_RAW",
	"--container live-one --all --cap SETUID":                                     "one SETUID",
	"--container live-one --cap DAC_READ_SEARCH":                                  "", // another capability was sufficient
	"--image nginx": "",
}

func TestHostileNamesCannotBreakWatchLines(t *testing.T) {
	t.Parallel()
	host := os.Getenv("DOCKER_HOST")
	text, lines := watchLiveAt(t, host, "--cap", "NET_RAW", "--container", "live-hostile"), watchLive(t, "--container", "live-hostile")
	for _, name := range []string{"\x1b[31mred\n\x07", "a pid 1 user 0", "\u202e\u009b2J", "\xff\xfe\"}", ""} {
		mustExecute(t, "docker", "run", "--rm", "--name", "live-hostile", "--label", "x=\x1b[2J\u202e", "bb", "probe", "named", name, "rawsock")
	}
	text.interrupt()
	lines.interrupt()
	shown := regexp.MustCompile(`^\d{4}-\d\d-\d\d \d\d:\d\d:\d\d\.\d{3}  live-hostile  bb:latest  NET_RAW  granted  raw socket \(IPv4\)  ` +
		`socket\(AF_INET, SOCK_RAW, ICMP\) in inet_create  by "[^ ]*( pid 1 user 0)?" pid \d+ \(1 inside\) user 0 /bin/probe\n$`)
	for name, l := range map[string]*livewatch{"text": text, "json": lines} {
		n := 0
		for line := range strings.Lines(l.lines.String()) {
			n++
			if i := strings.IndexFunc(strings.TrimSuffix(line, "\n"), func(r rune) bool { return !unicode.IsGraphic(r) }); i >= 0 {
				t.Errorf("%s: %q", name, line)
			}
			if name == "text" && !shown.MatchString(line) {
				t.Errorf("%q", line)
			}
			if name == "json" {
				valid(t, "watch", line)
			}
		}
		if n != 5 {
			t.Errorf("%s: %d lines\n%s", name, n, l.lines.String())
		}
	}
}

// A slow reader misses messages of the kernel, but no uses.
func TestUsesBeyondTheRingBufferAreAllReported(t *testing.T) {
	t.Parallel()
	const many = 1500 // fewer than a container's quota
	l := watchLive(t, "--container", "live-many")
	if err := l.Child.Signal(unix.SIGSTOP); err != nil {
		t.Fatal(err)
	}
	mustExecute(t, "docker", "run", "--rm", "--name", "live-many", "bb", "probe", "names", fmt.Sprint(many), "socket", "2", "3", "1")
	if err := l.Child.Signal(unix.SIGCONT); err != nil {
		t.Fatal(err)
	}
	names, late := make(map[string]bool), 0
	eventually(t, "all uses are printed", func() bool { return strings.Count(l.lines.String(), "\n") >= many })
	for _, use := range l.endWith("live-many") {
		if names[use.Process.Program] {
			t.Errorf("reported twice: %+v", use)
		}
		names[use.Process.Program] = true
		if use.Late {
			late++
		}
		if !use.RawSocket || use.Late != (use.Process.InnerPID == 0) {
			t.Errorf("%+v", use)
		}
	}
	if len(names) != many || late == 0 || late == many {
		t.Errorf("%d uses, %d of them late", len(names), late)
	}
	if r := l.wait(); !strings.Contains(r.stderr, "marks them as late") || !strings.Contains(r.stderr, "came too fast") || !strings.Contains(r.stderr, "nothing lost") {
		t.Error(r.stderr)
	}
}

// gate is a proxy to an engine that can hold back the engine's responses.
type gate struct {
	host string

	mu   sync.Mutex
	open chan struct{}
	held chan struct{} // receives a value for each response that is held back
}

func newGate(t *testing.T) *gate {
	t.Helper()
	path := filepath.Join(t.TempDir(), "s")
	listener, err := net.Listen("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = listener.Close() })
	g := &gate{host: "unix://" + path, open: make(chan struct{}), held: make(chan struct{}, 100)}
	g.release()
	go func() {
		for {
			client, err := listener.Accept()
			if err != nil {
				return
			}
			engine, err := net.Dial("unix", strings.TrimPrefix(os.Getenv("OTHERS"), "unix://"))
			if err != nil {
				_ = client.Close()
				continue
			}
			go func() { _, _ = io.Copy(engine, client); _ = engine.Close() }()
			go g.forward(engine, client)
		}
	}()
	return g
}

func (g *gate) forward(engine, client net.Conn) {
	defer client.Close()
	buffer := make([]byte, 4096)
	for {
		n, err := engine.Read(buffer)
		if err != nil {
			return
		}
		g.mu.Lock()
		open := g.open
		g.mu.Unlock()
		select {
		case <-open:
		default:
			select {
			case g.held <- struct{}{}:
			default:
			}
			<-open
		}
		if _, err := client.Write(buffer[:n]); err != nil {
			return
		}
	}
}

func (g *gate) release() { close(g.open) }

func (g *gate) hold() {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.open = make(chan struct{})
}

// A use waits briefly for its container's name. If watch shows all containers, the use is finally printed without a
// name.
func TestUsesWaitForTheEngine(t *testing.T) {
	t.Parallel()
	for name, late := range map[string]bool{"live-named-late": false, "live-never-named": true} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			g := newGate(t)
			l := watchLiveAt(t, g.host, "-o", "json", "--cap", "NET_RAW")
			g.hold()
			id := strings.TrimSpace(mustExecute(t, "docker", "run", "-d", "--name", name, "bb", "sh", "-c", "probe rawsock; sleep 1000"))
			t.Cleanup(func() { mustExecute(t, "docker", "rm", "-f", name) })
			<-g.held
			if !late {
				g.release()
			}
			use := l.of(id)
			if late {
				g.release()
			}
			if late != (use.Container.Name == "") || late != use.Container.Unidentified || !late && use.Container.Image != "bb:latest" || !use.RawSocket {
				t.Errorf("%+v", use)
			}
			r := l.interrupt()
			others := func(u uses.Use) bool { return u.Container.ID != id }
			if ours := slices.DeleteFunc(l.uses(), others); r.code != 0 || len(ours) != 1 {
				t.Errorf("exit code %d, %+v", r.code, ours)
			}
		})
	}
}

// withheld is the message of watch when it withholds uses of a container that may be selected.
const withheld = "so capmon does not know whether they are selected"

// watch shows no use until the engine has identified the selected container. Then it shows all uses of that container.
func TestOnlySelectedContainersAppear(t *testing.T) {
	t.Parallel()
	g := newGate(t)
	options := []string{"-o", "json", "--cap", "NET_RAW", "--container", "live-selected"}
	watches := []*livewatch{watchLiveAt(t, g.host, options...), watchLiveAt(t, g.host, append(options, "--every")...)}
	g.hold()
	for _, name := range []string{"live-selected", "live-stranger"} {
		mustExecute(t, "docker", "run", "-d", "--name", name, "bb", "sh", "-c", "probe rawsock; probe rawsock; sleep 1000")
		t.Cleanup(func() { mustExecute(t, "docker", "rm", "-f", name) })
	}
	for _, l := range watches {
		eventually(t, "watch reports that it withholds uses", func() bool { return strings.Contains(l.Stderr.String(), withheld) })
		if all := l.uses(); len(all) > 0 {
			t.Errorf("shown before their container was known: %+v", all)
		}
	}
	g.release()
	for i, l := range watches {
		if use := l.of("live-selected"); !use.First || use.Late || use.Container.Unidentified || use.Process.Executable != "/bin/probe" {
			t.Errorf("%+v", use)
		}
		r := l.interrupt()
		var count uint64
		for _, use := range l.uses() {
			if count += use.Count; use.Container.Name != "live-selected" {
				t.Errorf("not selected: %+v", use)
			}
		}
		if want := uint64(1 + i); r.code != 0 || count != want || strings.Count(r.stderr, withheld) != 1 {
			t.Errorf("exit code %d, %d uses, wanted %d\n%s", r.code, count, want, r.stderr)
		}
	}
}

// Without an engine, containers can be selected only by ID. watch counts all other uses.
func TestWithoutAnEngineNoContainerIsSelectedByName(t *testing.T) {
	t.Parallel()
	startSleeper(t, "live-no-engine")
	id := strings.TrimSpace(mustExecute(t, "docker", "inspect", "-f", "{{.Id}}", "live-no-engine"))
	none := "unix://" + filepath.Join(t.TempDir(), "none.sock")
	byName := watchLiveAt(t, none, "-o", "json", "--cap", "NET_RAW", "--container", "live-no-engine")
	byID := watchLiveAt(t, none, "-o", "json", "--cap", "NET_RAW", "--container", id[:12])
	mustExecute(t, "docker", "exec", "live-no-engine", "probe", "rawsock")
	byID.of(id)
	r := byID.interrupt()
	if all := byID.uses(); r.code != 0 || len(all) != 1 || !strings.Contains(r.stderr, "capmon: 1 use in 1 container, nothing lost") {
		t.Errorf("by ID: exit code %d, %+v\n%s", r.code, all, r.stderr)
	}
	r = byName.interrupt()
	summary := regexp.MustCompile(`capmon: 0 uses in 0 containers, .*; not shown: \d+ uses? in \d+ containers? that the engine did not describe \(.*\): to see them, select with --container ID`)
	if all := byName.uses(); r.code != 0 || len(all) != 0 || strings.Count(r.stderr, withheld) != 1 || !summary.MatchString(r.stderr) {
		t.Errorf("by name: exit code %d, %+v\n%s", r.code, all, r.stderr)
	}
}

func TestWatchOnATerminal(t *testing.T) {
	t.Parallel()
	startSleeper(t, "live-screen")
	for setting, colors := range map[string]bool{"NO_COLOR=": true, "NO_COLOR=1": false} {
		cmd, screen := terminal(t, "env", setting, binary, "watch", "live-screen", "--cap", "NET_RAW")
		lines := bufio.NewReader(screen)
		awaitText(t, lines, "watching; press Ctrl-C to stop")
		mustExecute(t, "docker", "exec", "live-screen", "probe", "rawsock")
		var line string
		for !strings.Contains(line, "live-screen") {
			var err error
			if line, err = lines.ReadString('\n'); err != nil {
				t.Fatal(err)
			}
		}
		if strings.Contains(line, "\x1b[") != colors || !strings.Contains(line, "raw socket (IPv4)") {
			t.Errorf("%s: %q", setting, line)
		}
		if _, err := screen.WriteString("\x03"); err != nil {
			t.Fatal(err)
		}
		if rest := remaining(lines); !strings.Contains(rest, "capmon: 1 use in 1 container, nothing lost") {
			t.Error(rest)
		}
		if err := cmd.Wait(); err != nil {
			t.Error(err)
		}
	}
}

func TestWatchRejectsInvalidArguments(t *testing.T) {
	t.Parallel()
	for args, wanted := range map[string]string{
		"--cap NET_RAWW":               `--cap: unknown capability "NET_RAWW": the nearest is NET_RAW`,
		"--cap=":                       "--cap names no capability",
		"-o table":                     `invalid argument "table" for "-o, --output" flag: choose text or json`,
		"--hook nothing":               "--hook: ",
		"--container [":                `pattern "["`,
		"--denied-only --granted-only": "together select nothing",
		"live-not-there":               `container "live-not-there"`,
		"--every --every-interval 0s":  "--every-interval 0s: use a time greater than 0",
		"--every-interval 5s":          "requires --every",
		"--rules builtin --every --every-interval 5s": "set a cool-down",
	} {
		if r := execute(t, append([]string{binary, "watch"}, strings.Fields(args)...)...); r.code != exitUsage || !strings.Contains(r.stderr, wanted) {
			t.Errorf("%s: exit code %d, %s", args, r.code, r.stderr)
		}
	}
}

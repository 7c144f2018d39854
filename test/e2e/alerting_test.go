package e2e

import (
	"encoding/json"
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"
	"unicode"

	"github.com/goccy/go-yaml"
	"golang.org/x/sys/unix"

	"github.com/capmon/capmon/internal/alert"
	"github.com/capmon/capmon/internal/rules"
	"github.com/capmon/capmon/internal/testutil"
)

// watchRules starts watch with rules, for containers whose names match.
func watchRules(t *testing.T, text, containers string) *livewatch {
	t.Helper()
	return watchLive(t, "--rules", written(t, "rules.yaml", text), "--container", containers)
}

// ours distinguishes containers of these tests from others. Other containers pass every selection until the engine has
// identified them.
func ours(one alert.Alert) bool { return strings.HasPrefix(one.Use.Container.Name, "alert-") }

// alerts returns the alerts of our containers that watch has printed so far.
func (l *livewatch) alerts() (all []alert.Alert) {
	l.T.Helper()
	text := l.lines.String()
	for line := range strings.Lines(text[:strings.LastIndex(text, "\n")+1]) { // without one that is being written
		var one alert.Alert
		if err := json.Unmarshal([]byte(line), &one); err != nil {
			l.T.Fatalf("not JSON: %v\n%s", err, line)
		}
		valid(l.T, "alert", line)
		if ours(one) {
			all = append(all, one)
		}
	}
	return all
}

// awaitAlert waits for an alert of a rule.
func (l *livewatch) awaitAlert(rule string) (found alert.Alert) {
	l.T.Helper()
	eventually(l.T, "rule "+rule+" alerts", func() bool {
		all := l.alerts()
		i := slices.IndexFunc(all, func(one alert.Alert) bool { return one.Rule == rule })
		if i >= 0 {
			found = all[i]
		}
		return i >= 0
	})
	return found
}

// endAlerts ends watch with Ctrl-C and returns "RULE xCOUNT" for every alert, sorted.
func (l *livewatch) endAlerts() (all []string) {
	l.T.Helper()
	r := l.interrupt()
	shown := strings.Count(l.lines.String(), "\n")
	want := fmt.Sprintf("capmon: %d alerts\n", shown)
	if shown == 1 {
		want = "capmon: 1 alert\n"
	}
	if r.code != 0 || !strings.Contains(r.stderr, want) {
		l.T.Errorf("exit code %d\n%s", r.code, r.stderr)
	}
	for _, one := range l.alerts() {
		all = append(all, fmt.Sprint(one.Rule, " x", one.Count))
	}
	slices.Sort(all)
	return all
}

// Each built-in rule has its own container here. This Docker may be unable to grant BPF, so a denied check replaces a
// granted one.
func TestBuiltinRulesRaiseAlerts(t *testing.T) {
	t.Parallel()
	l := watchRules(t, `
rules:
  - builtin: raw-socket
  - builtin: raw-socket-denied
  - builtin: raw-socket-nested-userns
  - builtin: sys-admin
  - builtin: sys-ptrace
  - builtin: sys-module
  - {name: module-by-name, capabilities: [SYS_MODULE], classes: [irrelevant]}
  - {builtin: bpf, answer: denied}
  - {builtin: denials, burst: {uses: 20, within: 1h}, cool-down: 1h}
`, "alert-builtin-*")
	run := func(name string, arguments ...string) {
		mustExecute(t, slices.Concat([]string{"docker", "run", "--rm", "--name", "alert-builtin-" + name}, arguments)...)
	}
	run("raw", "bb", "probe", "rawsock")
	run("denied", "--cap-drop=NET_RAW", "bb", "sh", "-c", "! probe rawsock")
	run("nested", "--security-opt=seccomp=unconfined", "--user=1000", "bb", "unshare", "-Urn", "probe", "rawsock")
	run("admin", "--cap-add=SYS_ADMIN", "bb", "hostname", "other")
	run("module", "--privileged", "bb", "sh", "-c", "! echo no-number > /proc/sys/kernel/usermodehelper/bset")
	run("interface", "--cap-add=SYS_MODULE", "bb", "sh", "-c", "! ifconfig none")
	run("bpf", "--security-opt=seccomp=unconfined", "bb", "sh", "-c", "! probe bpf-array")
	run("denials", "--cap-drop=CHOWN", "bb", "sh", "-c", "i=0; while [ $i -lt 24 ]; do ! probe named n$i chown-open /tmp 5 || exit 1; i=$((i+1)); done")
	startSleeper(t, "alert-builtin-ptrace", "--cap-add=SYS_PTRACE", "--user=65534")
	mustExecute(t, "docker", "exec", "-u", "0", "alert-builtin-ptrace", "ls", "-l", "/proc/1/cwd")
	for rule, want := range map[string]string{
		"raw-socket":               "warning: raw socket (IPv4) opened by probe in alert-builtin-raw (bb:latest)",
		"raw-socket-denied":        "info: raw socket (IPv4) denied to probe in alert-builtin-denied (bb:latest)",
		"raw-socket-nested-userns": "info: raw socket (IPv4) opened by probe in alert-builtin-nested (bb:latest), in a nested user namespace",
		"sys-admin":                "critical: SYS_ADMIN used by hostname for sethostname in alert-builtin-admin (bb:latest)",
		"sys-ptrace":               "critical: SYS_PTRACE used by ls for readlink in alert-builtin-ptrace (bb:latest)",
		"sys-module":               "critical: SYS_MODULE used by sh for write in alert-builtin-module (bb:latest)",
		"module-by-name":           "warning: SYS_MODULE used by ifconfig for ioctl(SIOCGIFFLAGS) in alert-builtin-interface (bb:latest)",
		"bpf":                      "critical: BPF denied to probe for bpf in alert-builtin-bpf (bb:latest)",
		"denials":                  "warning: 20 denials in alert-builtin-denials (bb:latest); the last: CHOWN denied to n19 for fchown",
	} {
		got := l.awaitAlert(rule)
		summary := strings.Replace(got.Summary, "readlinkat", "readlink", 1) // some architectures have only readlinkat
		if string(got.Severity)+": "+summary != want || got.Use.Container.Image != "bb:latest" {
			t.Errorf("%s: got %+v\nwant %s", rule, got, want)
		}
	}
	want := []string{"bpf x1", "denials x20", "denials x4", "module-by-name x1", "raw-socket x1", "raw-socket-denied x1", "raw-socket-nested-userns x1", "sys-admin x1", "sys-module x1", "sys-ptrace x1"}
	same(t, "alerts", l.endAlerts(), want)
}

// --rules builtin with text output.
func TestAlertsAsText(t *testing.T) {
	t.Parallel()
	l := watchLiveAt(t, os.Getenv("DOCKER_HOST"), "--rules", "builtin", "--container", "alert-text")
	for _, name := range []string{"ping", "\x1b[31mred\n", "a in b (c)", "\u202e\u009b2J", "\xff"} {
		mustExecute(t, "docker", "run", "--rm", "--name", "alert-text", "--label", "x=\x1b[2J\n\u202e", "bb", "probe", "named", name, "rawsock")
	}
	r := l.interrupt()
	lines := strings.Split(strings.TrimSuffix(l.lines.String(), "\n"), "\n")
	lines = slices.DeleteFunc(lines, func(line string) bool { return !strings.Contains(line, " in alert-text (") })
	if r.code != 0 || len(lines) != 5 {
		t.Fatalf("exit code %d, %q", r.code, lines)
	}
	for i, line := range lines {
		parts := strings.Split(line, "  ")
		if len(parts) != 5 || parts[1] != "warning" || parts[2] != "raw-socket" || !strings.HasSuffix(parts[3], " in alert-text (bb:latest)") || !strings.HasSuffix(parts[4], " user 0 /bin/probe") {
			t.Errorf("%q", line)
		}
		if strings.ContainsFunc(line, func(r rune) bool { return !unicode.IsGraphic(r) }) || i > 0 && !strings.Contains(line, ` opened by "`) {
			t.Errorf("%q", line)
		}
	}
}

func TestHostileLabelsCannotBreakAlertLines(t *testing.T) {
	t.Parallel()
	l := watchLive(t, "--rules", written(t, "rules.yaml", "rules: [{name: r, labels: [\"evil=\\e*\"]}]"), "--container", "alert-hostile", "--keep-label", "evil")
	mustExecute(t, "docker", "run", "--rm", "--name", "alert-hostile", "--label", "evil=\x1b[2J\u202e\n{\"a\":1}", "bb", "probe", "named", "\x1b]0;x\x07", "rawsock")
	if got := l.awaitAlert("r"); got.Use.Container.Labels["evil"] != "\x1b[2J\u202e\n{\"a\":1}" {
		t.Errorf("%+v", got)
	}
	same(t, "alerts", l.endAlerts(), []string{"r x1"})
	if strings.ContainsFunc(l.lines.String(), func(r rune) bool { return r != '\n' && !unicode.IsGraphic(r) }) {
		t.Errorf("%q", l.lines.String())
	}
}

func TestExceptionsRaiseNoAlerts(t *testing.T) {
	t.Parallel()
	l := watchRules(t, `
rules:
  - name: raw
    raw-socket: true
    except:
      - images: ["bb:*"]
        executables: [/bin/busybox]
      - labels: [may=all]
`, "alert-except-*")
	run := func(arguments ...string) {
		mustExecute(t, slices.Concat([]string{"docker", "run", "--rm"}, arguments)...)
	}
	run("--name=alert-except-label", "--label=may=all", "bb", "probe", "rawsock")
	run("--name=alert-except-path", "bb", "sh", "-c", "ping -c 1 127.0.0.1; probe rawsock")
	same(t, "alerts", l.endAlerts(), []string{"raw x1"})
	if got := l.alerts()[0].Use; got.Process.Executable != "/bin/probe" || got.Container.Name != "alert-except-path" {
		t.Errorf("%+v", got)
	}
}

// Other uses of CAP_NET_RAW are not reported as raw sockets. Calls that do not use it, actions of Docker and other
// containers raise no alert.
func TestOtherUsesOfNetRawRaiseOtherAlerts(t *testing.T) {
	t.Parallel()
	l := watchLive(t, "--rules", written(t, "rules.yaml", `
rules:
  - builtin: raw-socket
  - builtin: raw-socket-denied
  - builtin: raw-socket-nested-userns
  - {name: other, capabilities: [NET_RAW], raw-socket: false}
`), "--container", "alert-none-*")
	mustExecute(t, "docker", "run", "--rm", "--name", "alert-none-setup", "--privileged", "bb", "true")
	mustExecute(t, "docker", "run", "--rm", "--name", "alert-others", "bb", "probe", "rawsock")
	mustExecute(t, "docker", "run", "--rm", "--name", "alert-none-sockets", "--user=1000", "bb", "sh", "-c",
		"probe socket 2 2 1 && probe socket 10 2 58 && probe socket 2 1 6 && probe socket 2 2 17 && probe socket 10 2 17 && probe socket 1 3 0 && probe socket 16 3 0 && probe fork 3")
	mustExecute(t, "docker", "run", "--rm", "--name", "alert-none-options", "--cap-add=SYS_ADMIN", "bb", "sh", "-c",
		"probe setsockopt 1 36 1 && probe setsockopt 0 19 1 && probe rebind-device lo eth0 && probe setuid0 && mkdir /tmp/a && mount -t tmpfs none /tmp/a")
	l.endAlerts()
	var got []string
	for _, one := range l.alerts() {
		got = append(got, one.Rule+" "+one.Summary)
	}
	same(t, "alerts", got, []string{
		"other NET_RAW used by probe for setsockopt(SOL_SOCKET, SO_MARK) in alert-none-options (bb:latest)",
		"other NET_RAW used by probe for setsockopt(IPPROTO_IP, IP_TRANSPARENT) in alert-none-options (bb:latest)",
		"other NET_RAW used by probe for setsockopt(SOL_SOCKET, SO_BINDTODEVICE) in alert-none-options (bb:latest)",
	})
}

// Each group of raw sockets that were already open raises one alert. Sockets opened afterwards also raise alerts.
func TestRawSocketsAlreadyOpenRaiseAlerts(t *testing.T) {
	t.Parallel()
	holding(t, "alert-held", "probe hold 2 3 1 2")
	l := watchRules(t, "rules: [{builtin: raw-socket}]", "alert-held")
	if got := l.awaitAlert("raw-socket").Summary; got != "2 raw sockets (IPv4) held open by probe in alert-held (bb:latest)" {
		t.Error(got)
	}
	mustExecute(t, "docker", "exec", "alert-held", "probe", "rawsock")
	same(t, "alerts", l.endAlerts(), []string{"raw-socket x1", "raw-socket x2"})
}

func TestUsesDuringTheCoolDownAreCounted(t *testing.T) {
	t.Parallel()
	l := watchRules(t, `
rules:
  - {name: short, raw-socket: true, cool-down: 1s}
  - {name: long, raw-socket: true, cool-down: 1h}
`, "alert-cool-*")
	for _, name := range []string{"one", "two"} {
		mustExecute(t, "docker", "run", "--rm", "--name", "alert-cool-"+name, "bb", "probe", "names", "6", "socket", "2", "3", "1")
	}
	eventually(t, "alerts report the uses of the cool-down of one second", func() bool {
		var reported uint64
		for _, one := range l.alerts() {
			if one.Rule == "short" {
				reported += one.Count
			}
		}
		return reported == 12
	})
	var long []string
	for _, text := range l.endAlerts() {
		if strings.HasPrefix(text, "long") {
			long = append(long, text)
		}
	}
	same(t, "alerts", long, []string{"long x1", "long x1", "long x5", "long x5"})
}

func TestDriftRuleAlertsOnUsesOutsideTheProfile(t *testing.T) {
	t.Parallel()
	profile := saved(t, "alert-drift", "bb", "chown", "5", "/tmp")
	l := watchRules(t, "rules: [{builtin: drift, profiles: ["+profile+"]}]", "alert-drift")
	mustExecute(t, "docker", "run", "--rm", "--name", "alert-drift", "bb", "sh", "-c", "chown 5 /tmp; probe chown-open /tmp 6; probe rawsock")
	mustExecute(t, "docker", "tag", "bb", "alert-other:1")
	t.Cleanup(func() { mustExecute(t, "docker", "rmi", "alert-other:1") })
	for range 2 {
		mustExecute(t, "docker", "run", "--rm", "--name", "alert-drift", "alert-other:1", "probe", "rawsock")
	}
	r := l.interrupt()
	all := l.alerts()
	if len(all) != 1 || all[0].Summary != "raw socket (IPv4) opened by probe in alert-drift (bb:latest), never seen in the image's profiles" {
		t.Errorf("%+v", all)
	}
	if want := `capmon: rule "drift": there is no profile of image alert-other:1, so the rule does not alert on it`; strings.Count(r.stderr, want) != 1 {
		t.Error(r.stderr)
	}
}

func TestHangupReloadsTheRules(t *testing.T) {
	t.Parallel()
	const before = "rules:\n  - {name: before, capabilities: [CHOWN], cool-down: 1h}\n  - {name: marker, raw-socket: true, alert: every}\n"
	startSleeper(t, "alert-reload")
	path := written(t, "rules.yaml", before)
	l := watchLive(t, "--rules", path, "--every", "alert-reload")
	reload := func(text, wanted string) {
		t.Helper()
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		if err := l.Child.Signal(unix.SIGHUP); err != nil {
			t.Fatal(err)
		}
		eventually(t, "watch prints "+wanted, func() bool { return strings.Contains(l.Stderr.String(), wanted) })
	}
	// The rules have processed all uses once they have processed the marker that follows.
	var markers []string
	use := func(names ...string) {
		for _, name := range names {
			mustExecute(t, "docker", "exec", "alert-reload", "probe", "named", name, "chown-open", "/tmp", "5")
		}
		markers = append(markers, "marker x1")
		mustExecute(t, "docker", "exec", "alert-reload", "probe", "named", fmt.Sprint("marker-", len(markers)), "rawsock")
		eventually(t, "the marker alerts", func() bool {
			return len(slices.DeleteFunc(l.alerts(), func(one alert.Alert) bool { return one.Rule != "marker" })) == len(markers)
		})
	}
	use("a", "b", "c")
	reload("rules:\n  - {name: before, capabilities: [CHOWNN]}\n", "capmon: rules "+path+`:2: unknown capability "CHOWNN": the nearest is CHOWN; the current rules stay in force`)
	use("d")
	reload(before+"  - {name: now, raw-socket: false}\n", "capmon: reloaded "+path+": 3 rules in force")
	use("e")
	reload(before+"  - {name: every, capabilities: [CHOWN], alert: every}\n  - {name: now, raw-socket: false}\n", "capmon: reloaded "+path+": 4 rules in force")
	use("e")
	l.awaitAlert("every")
	reload("rules:\n  - {name: all, classes: [irrelevant]}\n", "use --all and --every; the current rules stay in force")
	same(t, "alerts", l.endAlerts(), slices.Concat([]string{"before x1", "before x4", "every x1"}, markers, []string{"now x1"}))
}

func TestRulesAreTestedOnProfiles(t *testing.T) {
	t.Parallel()
	profile := saved(t, "alert-trial", "bb", "sh", "-c", "chown 5 /tmp; probe rawsock")
	try := func(text string) []string { return []string{"rules", "test", written(t, "rules.yaml", text), profile} }
	expected(t, exitDone, try("rules: [{builtin: sys-admin}]"), "sys-admin: would not alert\n")
	expected(t, exitDone, try("rules: [{builtin: raw-socket, except: [{images: [nginx]}, {images: [bb]}]}]"),
		"raw-socket: 1 allowed\n  allowed  raw socket (IPv4) opened by probe in alert-trial (bb:latest) (exception 2)\n")
	expected(t, exitFindings, try("rules: [{builtin: raw-socket, executables: [/bin/probe]}]"), "(the executed file is unknown)\n")
	expected(t, exitFindings, []string{"rules", "test", "builtin", profile}, "raw-socket: 1 alert\n", "denials: would not alert\n")
	expected(t, exitUsage, []string{"rules", "test", "builtin", "/dev/null"})
	expected(t, exitUsage, append(try("rules: [{builtin: raw-socket}]"), "-o", "table"))
	r := expected(t, exitUsage, try("rules:\n  - {builtin: raw}\n"))
	if !strings.Contains(r.stderr, `rules.yaml:2: there is no built-in rule "raw"`) {
		t.Error(r.stderr)
	}
	r = expected(t, exitFindings, append(try("rules: [{builtin: raw-socket}, {name: b, capabilities: [CHOWN], except: [{containers: [alert-*]}]}]"), "-o", "json"))
	valid(t, "trial", r.stdout)
	var trial rules.TestResult
	if err := json.Unmarshal([]byte(r.stdout), &trial); err != nil || trial.Passed || len(trial.Rules) != 2 || trial.Rules[1].Uses[0].Exception != 1 {
		t.Errorf("%+v, %v", trial, err)
	}
}

func TestShownRulesAreAValidFile(t *testing.T) {
	t.Parallel()
	builtin := expected(t, exitDone, []string{"rules", "show"}, "name: raw-socket\n").stdout
	once := expected(t, exitDone, []string{"rules", "show", written(t, "rules.yaml", builtin)}).stdout
	twice := expected(t, exitDone, []string{"rules", "show", written(t, "rules.yaml", once)}).stdout
	if once != twice {
		t.Errorf("%s\n%s", once, twice)
	}
	expected(t, exitUsage, []string{"rules"})
	for _, args := range [][]string{{"watch", "--rules", "/nowhere/rules.yaml"}, {"watch", "--rules="}, {"watch", "--rules", written(t, "r.yaml", "rules: 5\n")}} {
		if r := expected(t, exitUsage, args); !strings.Contains(r.stderr, "rules") {
			t.Error(r.stderr)
		}
	}
}

// The rules in the docs are valid.
func TestRulesInTheDocsAreValid(t *testing.T) {
	t.Parallel()
	blocks := 0
	for path, document := range testutil.Documents(t, "../..") {
		for _, match := range testutil.Fenced.FindAllStringSubmatch(document, -1) {
			if !strings.HasPrefix(match[0], "```yaml") || !strings.Contains(match[1], "rules:\n") || strings.Contains(match[1], "version: 1") {
				continue
			}
			blocks++
			if _, err := rules.Parse(path, []byte(match[1])); err != nil {
				t.Error(err)
			}
			text, err := yaml.YAMLToJSON([]byte(match[1]))
			if err != nil {
				t.Fatal(err)
			}
			valid(t, "rules", string(text))
		}
	}
	if blocks < 3 {
		t.Errorf("the docs have only %d rule files", blocks)
	}
}

package e2e

import (
	"crypto/rand"
	"encoding/base64"
	"encoding/hex"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"unicode"

	"github.com/capmon/capmon/internal/settings"
)

// planted is the name of the container that has the secrets.
const planted = "secrets-planted"

// secret is two random words with a text between them that encodings quote or escape. The search is for each word, so
// quoting cannot hide it.
type secret struct {
	where string
	words [2]string
	value string
}

func newSecret(where, between string) secret {
	s := secret{where: where, words: [2]string{rand.Text(), rand.Text()}}
	s.value = s.words[0] + between + s.words[1]
	return s
}

// forms returns the encodings of the words: plain text, hexadecimal, and base64 at each position in a group of three
// bytes.
func (s secret) forms() (all []string) {
	for _, word := range s.words {
		all = append(all, word, hex.EncodeToString([]byte(word)))
		for before := range 3 {
			text := base64.RawStdEncoding.EncodeToString([]byte(strings.Repeat("x", before) + word))
			first, end := (before*8+5)/6, (before+len(word))*8/6
			all = append(all, text[first:end])
		}
	}
	return all
}

// in reports whether a text has the secret in any form, even if the text is wrapped.
func (s secret) in(text string) bool {
	whole := strings.Map(func(r rune) rune {
		if unicode.IsSpace(r) {
			return -1
		}
		return r
	}, text)
	return slices.ContainsFunc(s.forms(), func(form string) bool { return strings.Contains(text, form) || strings.Contains(whole, form) })
}

// hideout is a container with a secret in every place where a user may put one.
type hideout struct {
	image   string
	options []string
	args    []string
	// label is the secret in a label.
	label secret
	// own has the secrets of the container itself, which a command that recreates it needs. others has the secrets of
	// the image and of docker exec commands.
	own, others []secret
}

func newHideout(t *testing.T) hideout {
	t.Helper()
	ofImage, labelOfImage := newSecret("variable of the image", "'"), newSecret("label of the image", "-")
	image := hide(t, ofImage, labelOfImage)
	variable, lines, argument := newSecret("variable", `'"$<&\`), newSecret("variable of two lines", "\n"), newSecret("argument", `'"$<&\`)
	label, logging := newSecret("label", `'"$<&`), newSecret("option of the log", "-'")
	health, device, volume := newSecret("health check", "-"), newSecret("option of a volume's driver", "-"), newSecret("label of a volume", "-")
	t.Cleanup(func() { mustExecute(t, "docker", "volume", "rm", "-f", planted) })
	return hideout{
		image: image,
		options: []string{
			"--env=DB_PASSWORD=" + variable.value, "--env=CERTIFICATE=" + lines.value, "--label=secret=" + label.value,
			"--log-opt=tag=" + logging.value, "--health-cmd=: " + health.value, "--health-interval=1s",
			"--mount=type=volume,source=" + planted + ",target=/v,volume-opt=type=tmpfs,volume-opt=device=" + device.value + ",volume-label=secret=" + volume.value,
		},
		args:  []string{"sh", "-c", "probe rawsock && touch /tmp/f && chown 5 /tmp/f; trap exit TERM; sleep 1000 & wait", "sh", argument.value},
		label: label,
		own:   []secret{variable, lines, label, logging, health, device, volume, argument}, others: []secret{ofImage, labelOfImage},
	}
}

// hide creates an image with two secrets, as a build with arguments can.
func hide(t *testing.T, variable, label secret) string {
	t.Helper()
	image := planted + ":1"
	mustExecute(t, "docker", "create", "--name", planted+"-build", "bb", "true")
	mustExecute(t, "docker", "commit", "--change", `ENV IMAGE_TOKEN="`+variable.value+`"`, "--change", `LABEL image.secret="`+label.value+`"`, planted+"-build", image)
	mustExecute(t, "docker", "rm", planted+"-build")
	t.Cleanup(func() { mustExecute(t, "docker", "rmi", "-f", image) })
	return image
}

// secrets returns all secrets.
func (h hideout) secrets() []secret { return slices.Concat(h.own, h.others) }

// outputs collects everything that capmon prints, sends and stores, by description.
type outputs struct {
	t  *testing.T
	mu sync.Mutex
	of map[string]string
}

func (o *outputs) add(what, text string) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.of[what] += text
}

// run runs capmon and collects its output.
func (o *outputs) run(args ...string) result {
	o.t.Helper()
	args = append([]string{"--log-level=debug"}, args...)
	r := execute(o.t, append([]string{binary}, args...)...)
	if r.code != exitDone && r.code != exitFindings {
		o.t.Errorf("capmon %s: exit code %d\n%s%s", strings.Join(args, " "), r.code, r.stdout, r.stderr)
	}
	o.collect("capmon "+strings.Join(args[:min(len(args), 6)], " "), r)
	return r
}

func (o *outputs) collect(what string, r result) {
	o.add(what, r.stdout)
	o.add(what+", the log", r.stderr)
}

// files collects all files below a directory.
func (o *outputs) files(directory string) {
	o.t.Helper()
	err := filepath.WalkDir(directory, func(path string, entry os.DirEntry, err error) error {
		if err == nil && entry.Type().IsRegular() {
			o.add("file "+filepath.Base(path), contents(o.t, path))
		}
		return err
	})
	if err != nil {
		o.t.Fatal(err)
	}
}

// search searches all outputs for the secrets. It also verifies that most outputs name the container: an empty output
// could not reveal a secret.
func (o *outputs) search(secrets []secret) {
	o.t.Helper()
	var named int
	for what, text := range o.of {
		for _, s := range secrets {
			if s.in(text) {
				o.t.Errorf("%s has the %s", what, s.where)
			}
		}
		if strings.Contains(text, planted) {
			named++
		}
	}
	if len(o.of) < 60 || named < 40 {
		o.t.Errorf("only %d outputs, of which %d name the container", len(o.of), named)
	}
}

// about verifies that these outputs name the container.
func (o *outputs) about(whats ...string) {
	o.t.Helper()
	for _, what := range whats {
		if !strings.Contains(o.of[what], planted) {
			o.t.Errorf("%s does not name the container: %s", what, o.of[what])
		}
	}
}

// webhook starts a server that collects the bodies of requests, and returns its URL.
func (o *outputs) webhook() string {
	server := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, request *http.Request) {
		body, _ := io.ReadAll(request.Body)
		o.add("webhook "+request.URL.Path, fmt.Sprint(request.Header, string(body)))
	}))
	o.t.Cleanup(server.Close)
	return server.URL
}

// alertRules returns the path of rules with a sink of each form. One rule depends on the secret in a label, so capmon
// has to read the label.
func (h hideout) alertRules(t *testing.T, hook, directory string) string {
	t.Helper()
	return written(t, "rules.yaml", `
rules:
  - builtin: raw-socket
  - {name: own, capabilities: [CHOWN], labels: ["secret=`+h.label.words[0]+`*"]}
sinks:
  - {name: hook, type: webhook, url: "`+hook+`/plain"}
  - {name: slack, type: webhook, url: "`+hook+`/slack", preset: slack}
  - {name: manager, type: webhook, url: "`+hook+`", preset: alertmanager}
  - {name: own, type: webhook, url: "`+hook+`/template", template: '{"labels": {{ json .Use.Container.Labels }}, "use": {{ json .Use }}}'}
  - {name: file, type: log, path: `+filepath.Join(directory, "alerts.json")+`}
spool:
  directory: `+filepath.Join(directory, "spool")+`
`)
}

// Nothing that capmon prints, logs, serves, sends or stores has a secret.
func TestNoSecretIsShown(t *testing.T) {
	t.Parallel()
	h, o, directory := newHideout(t), &outputs{t: t, of: make(map[string]string)}, t.TempDir()
	rules := h.alertRules(t, o.webhook(), directory)

	server := serve(t, "--rules", rules)
	uses := watchLive(t, "--all", "--every", "--log-level=debug", "--label", "secret=*")
	alerts := watchLiveAt(t, os.Getenv("DOCKER_HOST"), "--rules", written(t, "rules.yaml", "rules: [{builtin: raw-socket}, {name: own, capabilities: [CHOWN]}]"), "--log-level=debug", "--container", planted)
	text := watchLiveAt(t, os.Getenv("DOCKER_HOST"), "--all", "--log-level=debug", "--container", planted)
	t.Cleanup(func() { mustExecute(t, "docker", "rm", "-f", planted) })
	started := o.run(slices.Concat([]string{"profile", "--all", "--label", "secret=" + h.label.words[0] + "*", "--", "docker", "run", "-d", "--name", planted}, h.options, []string{h.image}, h.args)...)
	if started.code != exitDone {
		t.Fatalf("exit code %d\n%s%s", started.code, started.stdout, started.stderr)
	}
	saved := filepath.Join(directory, "saved.json")
	running := watch(t, "--all", "--save", saved, "--log-level=debug", planted)
	kept := watch(t, "--keep-label", "secre?", planted)
	h.execute(t)

	eventually(t, "the rules alert", func() bool {
		o.mu.Lock()
		defer o.mu.Unlock()
		return strings.Contains(o.of["webhook /plain"], `"rule":"own"`) && strings.Contains(o.of["webhook /template"], `"labels"`)
	})
	server.Saved()
	o.answers(server)
	for what, observation := range map[string]*observation{"watch": uses.observation, "watch --rules": alerts.observation, "watch, text": text.observation, "profile": running} {
		o.collect(what, observation.interrupt())
	}
	o.add("watch", uses.lines.String())
	o.add("watch --rules", alerts.lines.String())
	o.add("watch, text", text.lines.String())
	h.withLabel(t, kept.interrupt().stdout)
	o.collect("serve", server.interrupt())

	o.documents(rules, saved, server.Database)
	o.run("verify", "-o", "json", "--save", filepath.Join(directory, "proof.json"), "--", "docker", "run", h.options[0], h.options[1], h.options[2], h.options[3], h.options[4], h.image, "true", h.own[7].value)
	o.files(directory)
	o.files(filepath.Dir(server.Database))
	o.search(h.secrets())
	o.about("profile", "watch", "watch --rules", "watch, text", "webhook /plain", "webhook /slack", "webhook /api/v2/alerts", "webhook /template",
		"file alerts.json", "file saved.json", "file capmon.db", "/api/v1/report", "/api/v1/profile", "/api/v1/alerts", "/metrics")
	h.inValues(t, saved)
}

// execute runs a command with additional secrets in the container.
func (h *hideout) execute(t *testing.T) {
	t.Helper()
	variable, argument := newSecret("variable of docker exec", "-"), newSecret("argument of docker exec", "-")
	h.others = append(h.others, variable, argument)
	mustExecute(t, "docker", "exec", "--env=TOKEN="+variable.value, planted, "sh", "-c", "probe rawsock && chown 6 /tmp/f", "sh", argument.value)
}

// withLabel verifies that --keep-label shows the requested value and no other secret.
func (h hideout) withLabel(t *testing.T, report string) {
	t.Helper()
	for _, s := range h.secrets() {
		if s.in(report) != (s.where == h.label.where) {
			t.Errorf("with --keep-label, the report has the %s: %v", s.where, s.in(report))
		}
	}
}

// answers collects the responses of serve.
func (o *outputs) answers(server *server) {
	o.t.Helper()
	for _, path := range []string{
		"/healthz", "/readyz", "/metrics", "/api/v1/openapi.json", "/api/v1/state", "/api/v1/report", "/api/v1/profile", "/api/v1/alerts",
		"/api/v1/flags", "/api/v1/report?label=secret", "/api/v1/report?label=secret%3D*", "/api/v1/report?label=nothing",
	} {
		_, body := server.Get(path)
		o.add(path, body)
	}
	for _, target := range settings.Targets() {
		_, body := server.Get("/api/v1/flags?for=" + target.Name)
		o.add("/api/v1/flags for "+target.Name, body)
	}
}

// documents collects the outputs of commands for a profile and a database.
func (o *outputs) documents(rules, saved, database string) {
	o.t.Helper()
	for _, format := range []string{"table", "json", "csv", "sarif", "junit", "html", "oscal"} {
		r := o.run("audit", "-o", format, "--min-observed=0s", "--profile", saved, planted)
		if !strings.Contains(r.stdout, planted) || format != "csv" && format != "table" && !strings.Contains(r.stdout, "--env=DB_PASSWORD") {
			o.t.Errorf("audit in the form %s does not name the variable:\n%s", format, r.stdout)
		}
		o.run("audit", "-o", format, "--static", planted)
		o.run("audit", "-o", format, "--db", database, planted)
	}
	// The database also has the containers of other tests, which may not go together.
	for _, source := range [][]string{{saved}, {"--db", database, "--container", planted}} {
		for _, format := range []string{"table", "json", "flags", "html"} {
			o.run(append([]string{"report", "-o", format, "--all", "--even-if-start-unseen"}, source...)...)
		}
		for _, format := range []string{"table", "json", "junit", "sarif"} {
			o.run(append([]string{"check", "-o", format, "--deny=NET_RAW"}, source...)...)
		}
		for _, target := range settings.Targets() {
			o.run(append([]string{"flags", "--even-if-start-unseen", "--for", target.Name}, source...)...)
		}
	}
	for _, format := range []string{"table", "json", "html"} {
		o.run("diff", "-o", format, saved, saved)
	}
	for _, format := range []string{"text", "json"} {
		o.run("rules", "test", "-o", format, rules, saved)
	}
	for _, format := range []string{"table", "json"} {
		o.run("db", "alerts", "-o", format, "--db", database)
	}
	o.run("db", "info", "--db", database)
}

// inValues verifies that the search finds existing secrets: docker inspect shows all of them, and audit --with-values
// shows the secrets of the container itself.
func (h hideout) inValues(t *testing.T, saved string) {
	t.Helper()
	docker := mustExecute(t, "docker", "inspect", planted, h.image)
	for _, s := range slices.Concat(h.own[:5], h.own[7:], h.others[:2]) {
		if !s.in(docker) {
			t.Errorf("the %s is not planted", s.where)
		}
		if encoded := base64.StdEncoding.EncodeToString([]byte("ab" + s.value + "cd")); !s.in(encoded) || !s.in(hex.EncodeToString([]byte(s.value))) {
			t.Errorf("the %s is not found in %s", s.where, encoded)
		}
	}
	for _, format := range []string{"table", "json", "csv", "sarif", "junit", "html", "oscal"} {
		r := execute(t, binary, "audit", "-o", format, "--with-values", "--min-observed=0s", "--profile", saved, planted)
		for _, s := range h.own {
			if !s.in(r.stdout) {
				t.Errorf("audit --with-values in the form %s lacks the %s", format, s.where)
			}
		}
	}
}

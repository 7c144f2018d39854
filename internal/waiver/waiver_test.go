package waiver

import (
	"encoding/json"
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/capmon/capmon/capability"
	"github.com/capmon/capmon/internal/container"
)

var noon = time.Date(2026, 11, 30, 12, 0, 0, 0, time.UTC)

// builder is a container that the tests match.
var builder = container.Info{
	ID: "dbdbdbdbdbdb" + strings.Repeat("0", 52), Name: "ci-builder-1", Image: "registry.example:5000/ci/builder:3",
	ImageID: "sha256:" + strings.Repeat("1", 64), ImageDigest: "sha256:" + strings.Repeat("2", 64),
}

func date(t *testing.T, text string) Date {
	t.Helper()
	day, err := time.Parse(dateForm, text)
	if err != nil {
		t.Fatal(err)
	}
	return Date{day}
}

// parsed returns waivers that each consist of their selectors, capabilities and dates, and have the same owner and
// reason.
func parsed(t *testing.T, waivers ...string) *File {
	t.Helper()
	text := "waivers:\n"
	for _, w := range waivers {
		text += "  - {" + w + ", reason: it must, owner: team}\n"
	}
	file, err := Parse("waivers.yaml", []byte(text))
	if err != nil {
		t.Fatal(err)
	}
	return file
}

func TestPatterns(t *testing.T) {
	changed := func(change func(*container.Info)) container.Info {
		c := builder
		change(&c)
		return c
	}
	nameless := changed(func(c *container.Info) { c.Name, c.Image, c.ImageID, c.ImageDigest = "", "", "", "" })
	byDigest := changed(func(c *container.Info) { c.Image = "registry.example:5000/ci/builder@" + c.ImageDigest })
	official := changed(func(c *container.Info) { c.Image = "nginx:1.27" })
	for _, test := range []struct {
		selectors string
		container container.Info
		want      bool
	}{
		{`container: ci-builder-1`, builder, true},
		{`container: "ci-*"`, builder, true},
		{`container: "ci-builder-?"`, builder, true},
		{`container: "ci-builder-[0-9]"`, builder, true},
		{`container: "*"`, builder, true},
		{`container: ci`, builder, false},
		{`container: "CI-*"`, builder, false},
		{`container: "*builder"`, builder, false},

		{`container: dbdbdbdbdbdb`, builder, true},
		{`container: ` + builder.ID, builder, true},
		{`container: dbdbdbdbdbd`, builder, false},
		{`container: "db*"`, builder, false}, // names only: IDs are random
		{`container: "*0000"`, builder, false},
		{`container: dbdbdbdbdbdb`, nameless, true},
		{`container: "*"`, nameless, false}, // its name is not known

		{`image: "registry.example:5000/ci/builder:3"`, builder, true},
		{`image: "registry.example:5000/ci/builder"`, builder, true},
		{`image: "registry.example:5000/ci/builder:*"`, builder, true},
		{`image: "registry.example:5000/*/builder:3"`, builder, true},
		{`image: "*"`, builder, false}, // * does not match a slash
		{`image: "builder:*"`, builder, false},
		{`image: "nginx"`, official, true},
		{`image: "docker.io/library/nginx:1.*"`, official, true},
		{`image: "*"`, official, true},
		{`image: "*"`, nameless, false},
		{`image: "registry.example:5000/ci/builder"`, byDigest, true},

		{`image: "` + builder.ImageID + `"`, builder, true},
		{`image: "` + builder.ImageDigest + `"`, builder, true},
		{`image: "` + digestOfImage + `"`, builder, false},
		{`image: "` + builder.ImageDigest + `"`, nameless, false},
		{`image: "registry.example:5000/ci/builder@` + builder.ImageDigest + `"`, builder, true},
		{`image: "registry.example:5000/ci/builder:3@` + builder.ImageDigest + `"`, builder, true},
		{`image: "registry.example:5000/ci/*@` + builder.ImageID + `"`, builder, true},
		{`image: "registry.example:5000/ci/builder@` + builder.ImageDigest + `"`, byDigest, true},
		{`image: "nginx@` + builder.ImageDigest + `"`, builder, false},
		{`image: "registry.example:5000/ci/builder@` + digestOfImage + `"`, builder, false},

		{`container: "ci-*", image: "registry.example:5000/ci/builder"`, builder, true},
		{`container: "ci-*", image: "nginx"`, builder, false},
		{`container: "web-*", image: "registry.example:5000/ci/builder"`, builder, false},
		{`container: "ci-*"`, container.Info{}, false},

		// Names that an attacker chooses.
		{`container: "ci-*"`, container.Info{Name: "ci-/../web"}, false},
		{`container: "ci-*"`, container.Info{Name: "ci-\n\x1b[2J"}, true},
		{`container: "ci-*"`, container.Info{Name: " ci-1"}, false},
		{`container: "ci-*"`, container.Info{Name: "xn\u202e-ic"}, false},
		{`container: "ci-*"`, container.Info{Name: "ci-" + strings.Repeat("a*?[", 1<<18)}, true},
		{`container: "*a*b*c*d"`, container.Info{Name: strings.Repeat("abc", 1<<18)}, false},
		{`container: web`, container.Info{Name: "[w]eb"}, false},
		{`container: "ci-*"`, changed(func(c *container.Info) { c.Unconfirmed = "/user.slice/" + c.ID }), false},
		{`container: dbdbdbdbdbdb`, changed(func(c *container.Info) { c.Unconfirmed = "/user.slice/" + c.ID }), false},
		{`image: "*"`, container.Info{Image: "no image\x00"}, true},
		{`image: "ngin[x]"`, container.Info{Image: "NGINX"}, false},
	} {
		review := parsed(t, test.selectors+", capabilities: [ALL], expires: 2027-03-31").At(noon)
		covers := review.Match(test.container).Cover(capability.Of(capability.Chown))
		if got := len(covers.Valid) == 1; got != test.want || review.List[0].Matches == 1 != test.want {
			name := test.container.Name
			t.Errorf("%s selects %q, %q: %v, want %v", test.selectors, name[:min(len(name), 40)], test.container.Image, got, test.want)
		}
	}
}

// A waiver is valid until the end of its last day, in UTC.
func TestExpiry(t *testing.T) {
	file := parsed(t, `container: "*", capabilities: [CHOWN], expires: 2026-11-30`)
	east, west := time.FixedZone("east", 14*60*60), time.FixedZone("west", -12*60*60)
	for _, test := range []struct {
		now  time.Time
		want State
		days int
	}{
		{time.Date(2025, 1, 1, 0, 0, 0, 0, time.UTC), Valid, 698},
		{time.Date(2026, 10, 30, 23, 59, 59, 999, time.UTC), Valid, 31},
		{time.Date(2026, 10, 31, 0, 0, 0, 0, time.UTC), Expiring, 30},
		{time.Date(2026, 11, 29, 23, 59, 59, 999, time.UTC), Expiring, 1},
		{time.Date(2026, 11, 30, 0, 0, 0, 0, time.UTC), Expiring, 0},
		{time.Date(2026, 11, 30, 23, 59, 59, 999999999, time.UTC), Expiring, 0},
		{time.Date(2026, 12, 1, 0, 0, 0, 0, time.UTC), Expired, -1},
		{time.Date(2026, 12, 1, 23, 59, 59, 0, time.UTC), Expired, -1},
		{time.Date(2026, 12, 2, 0, 0, 0, 0, time.UTC), Expired, -2},
		{time.Date(2099, 12, 31, 0, 0, 0, 0, time.UTC), Expired, -26694},
		// The same time has another date elsewhere.
		{time.Date(2026, 12, 1, 13, 59, 59, 0, east), Expiring, 0},
		{time.Date(2026, 12, 1, 14, 0, 0, 0, east), Expired, -1},
		{time.Date(2026, 11, 30, 11, 59, 59, 0, west), Expiring, 0},
		{time.Date(2026, 11, 30, 12, 0, 0, 0, west), Expired, -1},
	} {
		review := file.At(test.now)
		if w := review.List[0]; w.State != test.want || w.Days != test.days {
			t.Errorf("at %s: %s, %d days; want %s, %d", test.now, w.State, w.Days, test.want, test.days)
		}
		coverage := review.Match(builder).Cover(capability.Of(capability.Chown))
		if valid := len(coverage.Valid) == 1; valid == (test.want == Expired) || len(coverage.Valid)+len(coverage.Expired) != 1 || coverage.Set().Empty() == valid {
			t.Errorf("at %s: %+v", test.now, coverage)
		}
	}
}

func TestCover(t *testing.T) {
	review := parsed(t,
		`container: "ci-*", capabilities: [SYS_ADMIN, NET_RAW], expires: 2027-03-31`,
		`container: "ci-*", capabilities: [NET_RAW, KILL], expires: 2026-12-20`,
		`container: "ci-*", capabilities: [ALL], expires: 2026-11-27`,
		`container: "ci-*", capabilities: [MKNOD], expires: 2027-03-31`,
		`container: web, capabilities: [ALL], expires: 2027-03-31`,
		`container: web, capabilities: [default], expires: 2026-11-29`,
	).At(noon)
	matching := review.Match(builder)
	coverage := matching.Cover(capability.Of(capability.NetRaw, capability.Chown, capability.Kill))
	want := []string{
		"waived until 2027-03-31: NET_RAW, accepted by team: it must  [waivers.yaml:2]",
		"waived until 2026-12-20, in 20 days: KILL, NET_RAW, accepted by team: it must  [waivers.yaml:3]",
		"the waiver expired on 2026-11-27, 3 days ago: ALL, accepted by team: it must  [waivers.yaml:4]",
	}
	if diff := cmp.Diff(want, coverage.Texts()); diff != "" {
		t.Error(diff)
	}
	if coverage.Set() != capability.Of(capability.NetRaw, capability.Kill) || coverage.All() {
		t.Errorf("%s are covered, all: %v", coverage.Set(), coverage.All())
	}
	matching.Cover(capability.Of(capability.NetRaw)) // another finding of the same container
	review.Match(container.Info{Name: "ci-other"}).Cover(capability.Of(capability.Kill))
	want = []string{
		"waivers in waivers.yaml: 6",
		"  line 2: NET_RAW, SYS_ADMIN of container ci-*, until 2027-03-31, accepted by team: it must", "    covers findings of 1 container",
		"  line 3: KILL, NET_RAW of container ci-*, until 2026-12-20, accepted by team: it must", "    expires in 20 days; covers findings of 2 containers",
		"  line 4: ALL of container ci-*, until 2026-11-27, accepted by team: it must", "    expired on 2026-11-27, 3 days ago; no longer covers findings of 2 containers",
		"  line 5: MKNOD of container ci-*, until 2027-03-31, accepted by team: it must", "    unused: it matches 2 containers, and covers no finding",
		"  line 6: ALL of container web, until 2027-03-31, accepted by team: it must", "    unused: it matches none of these containers",
		"  line 7: DEFAULT of container web, until 2026-11-29, accepted by team: it must", "    expired on 2026-11-29, 1 day ago; unused: it matches none of these containers",
	}
	if diff := cmp.Diff(want, review.Lines()); diff != "" {
		t.Error(diff)
	}
	if !review.Match(container.Info{Name: "web"}).Cover(capability.Of(capability.Chown)).All() {
		t.Error("a waiver for ALL does not cover all")
	}
}

// Without a file, nothing is covered.
func TestNoFile(t *testing.T) {
	var file *File
	review := file.At(noon)
	if review != nil || review.Lines() != nil || len(review.Match(builder).Cover(^capability.Set(0)).Texts()) > 0 {
		t.Errorf("%+v", review)
	}
}

func TestJSON(t *testing.T) {
	review := parsed(t, `container: "ci-*", capabilities: [ALL], expires: 2027-03-31`, `image: nginx, capabilities: [NET_RAW, KILL], expires: 2026-11-30`).At(noon)
	review.Match(builder)
	text, err := json.Marshal(review)
	if err != nil {
		t.Fatal(err)
	}
	const want = `{"file":"waivers.yaml","list":[` +
		`{"container":"ci-*","capabilities":["ALL"],"reason":"it must","owner":"team","expires":"2027-03-31","line":2,"state":"valid","days":121,"matches":1,"covers":0},` +
		`{"image":"nginx","capabilities":["KILL","NET_RAW"],"reason":"it must","owner":"team","expires":"2026-11-30","line":3,"state":"expiring","days":0,"matches":0,"covers":0}]}`
	if string(text) != want {
		t.Errorf("got %s", text)
	}
	var again Review
	if err := json.Unmarshal(text, &again); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(review.Lines(), again.Lines()); diff != "" {
		t.Error(diff)
	}
}

// The example is valid, and shows all keys.
func TestExample(t *testing.T) {
	const path = "../../examples/ci/waivers.yaml"
	file, err := Load(path)
	if err != nil {
		t.Fatal(err)
	}
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	for _, key := range []string{"container", "image", "capabilities", "reason", "owner", "expires"} {
		if !strings.Contains(string(text), key+":") {
			t.Errorf("it has no %s", key)
		}
	}
	if !slices.ContainsFunc(file.Waivers, func(w Waiver) bool { return w.digest != "" }) {
		t.Error("no waiver has a digest")
	}
	for _, r := range file.At(noon).List {
		if r.State != Valid {
			t.Error(fmt.Sprintf("line %d: ", r.Line), r.Remark())
		}
	}
}

// The document shows the list of its own example.
func TestDocument(t *testing.T) {
	text, err := os.ReadFile("../../docs/waivers.md")
	if err != nil {
		t.Fatal(err)
	}
	document := string(text)
	_, example, _ := strings.Cut(document, "```yaml\n")
	example, _, _ = strings.Cut(example, "```")
	file, err := Parse("waivers.yaml", []byte(example))
	if err != nil {
		t.Fatal(err)
	}
	review := file.At(noon)
	runner := review.Match(container.Info{Name: "ci-runner-1"}).Cover(capability.Of(capability.SysAdmin))
	mail := review.Match(container.Info{Name: "mail", Image: "registry.example.com/legacy/mail:2"}).Cover(capability.Of(capability.NetRaw))
	for _, line := range slices.Concat(runner.Texts(), mail.Texts(), []string{strings.Join(review.Lines(), "\n") + "\n"}) {
		if !strings.Contains(document, line) {
			t.Errorf("the document does not contain\n%s", line)
		}
	}
}

package page_test

import (
	"bytes"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"unicode"

	"golang.org/x/net/html"

	"github.com/capmon/capmon/internal/compare"
	"github.com/capmon/capmon/internal/page"
	"github.com/capmon/capmon/internal/page/pagetest"
	"github.com/capmon/capmon/internal/profile"
	"github.com/capmon/capmon/internal/report"
	"github.com/capmon/capmon/internal/report/reporttest"
	"github.com/capmon/capmon/internal/settings"
	"github.com/capmon/capmon/internal/testutil"
	"github.com/capmon/capmon/internal/waiver"
)

var update = flag.Bool("update", false, "write the golden files in testdata instead of comparing with them")

func written(t testing.TB, p page.Page) string {
	t.Helper()
	var out bytes.Buffer
	if err := page.Write(&out, p); err != nil {
		t.Fatal(err)
	}
	return out.String()
}

func parsed(t testing.TB, text string) *html.Node {
	t.Helper()
	root, err := html.Parse(strings.NewReader(text))
	if err != nil {
		t.Fatal(err)
	}
	return root
}

// elements returns the elements with a name.
func elements(root *html.Node, name string) (found []*html.Node) {
	for node := range root.Descendants() {
		if node.Type == html.ElementNode && node.Data == name {
			found = append(found, node)
		}
	}
	return found
}

func attribute(node *html.Node, name string) string {
	for _, a := range node.Attr {
		if a.Key == name {
			return a.Val
		}
	}
	return ""
}

// A browser runs nothing if one byte of the script differs from the hash.
func TestThePolicyHasTheHashesOfTheScriptAndTheStyle(t *testing.T) {
	root := parsed(t, written(t, pagetest.Fleet(3)))
	policy := ""
	for _, meta := range elements(root, "meta") {
		if attribute(meta, "http-equiv") == "Content-Security-Policy" {
			policy = attribute(meta, "content")
		}
	}
	hashOf := func(node *html.Node) string {
		sum := sha256.Sum256([]byte(node.FirstChild.Data))
		return "'sha256-" + base64.StdEncoding.EncodeToString(sum[:]) + "'"
	}
	scripts, styles := elements(root, "script"), elements(root, "style")
	if len(scripts) != 2 || attribute(scripts[0], "type") != "application/json" || attribute(scripts[1], "type") != "module" || len(styles) != 1 {
		t.Fatalf("%d scripts, %d styles", len(scripts), len(styles))
	}
	want := fmt.Sprintf("default-src 'none'; script-src %s; style-src %s; base-uri 'none'; form-action 'none'", hashOf(scripts[1]), hashOf(styles[0]))
	if policy != want || page.Policy() != want {
		t.Errorf("%s, wanted %s", policy, want)
	}
}

// The page has no other elements and attributes than the template, whatever the texts are.
func TestHostileTextsStayTexts(t *testing.T) {
	allowed := make(map[string]bool)
	for _, harmless := range []page.Page{pagetest.Fleet(8), page.OfAudit(pagetest.Audit(8, nil), pagetest.Options)} {
		for node := range parsed(t, written(t, harmless)).Descendants() {
			allowed[node.Data] = node.Type == html.ElementNode || allowed[node.Data]
		}
	}
	for _, text := range pagetest.HostileTexts() {
		p := pagetest.Hostile(text)
		comparison, err := compare.Profiles(p, pagetest.Hostile(text+"2"), compare.Options{Images: true})
		if err != nil {
			t.Fatal(err)
		}
		hostileAudit := pagetest.Audit(8, nil)
		for i, c := range hostileAudit.Containers {
			c.Name, c.Image, c.ImageID, c.User, c.Reasons, c.Remedy.Observe = text, text, text, text, []string{text}, []string{text}
			c.Related[0].Text = text
			if i < len(p.Runs) {
				c.ID = p.Runs[i].Container.ID
			}
		}
		options := pagetest.Options
		options.Version, options.AnyStart = text, true
		for name, hostile := range map[string]page.Page{
			"report": page.OfProfile(p, options), "diff": page.OfDiff(comparison, options), "audit": page.OfAudit(hostileAudit, options),
		} {
			t.Run(fmt.Sprintf("%s %.20q", name, text), func(t *testing.T) { stayTexts(t, written(t, hostile), allowed) })
		}
	}
}

func stayTexts(t *testing.T, text string, allowed map[string]bool) {
	t.Helper()
	const limit = 4 << 20
	if len(text) > limit {
		t.Errorf("%d bytes", len(text))
	}
	root := parsed(t, text)
	for node := range root.Descendants() {
		if node.Type == html.ElementNode && !allowed[node.Data] || node.Type == html.CommentNode {
			t.Errorf("an element %s", node.Data)
		}
		for _, a := range node.Attr {
			if strings.HasPrefix(a.Key, "on") || a.Key == "src" || a.Key == "style" || a.Key == "href" && !strings.HasPrefix(a.Val, "#") {
				t.Errorf("an attribute %s=%.50q", a.Key, a.Val)
			}
			isGraphic(t, a.Val)
		}
		if node.Type == html.TextNode && node.Parent.Data != "style" && node.Parent.Data != "script" {
			isGraphic(t, node.Data)
		}
	}
	data := elements(root, "script")[0].FirstChild.Data
	if strings.ContainsAny(data, "<>&\u2028\u2029") {
		t.Error("the JSON contains a character that HTML or a script could interpret")
	}
	var value any
	if err := json.Unmarshal([]byte(data), &value); err != nil {
		t.Fatal(err)
	}
	allStrings(value, func(s string) { isGraphic(t, s) })
}

func isGraphic(t *testing.T, text string) {
	t.Helper()
	if i := strings.IndexFunc(text, func(r rune) bool { return r != '\n' && !unicode.IsGraphic(r) || r == unicode.ReplacementChar }); i >= 0 {
		t.Errorf("%q", text[i:min(len(text), i+20)])
	}
}

func allStrings(value any, visit func(string)) {
	switch v := value.(type) {
	case string:
		visit(v)
	case []any:
		for _, each := range v {
			allStrings(each, visit)
		}
	case map[string]any:
		for _, each := range v {
			allStrings(each, visit)
		}
	}
}

// The golden files do not contain the script and the style sheet.
func TestGoldenPages(t *testing.T) {
	profiles := reporttest.Profiles()
	for name, p := range map[string]page.Page{
		"report": page.OfProfile(profile.Merge(profiles["files"], profiles["existed"]), pagetest.Options),
		"proved": page.OfProfile(profiles["proved"], pagetest.Options),
		"empty":  page.OfProfile(profiles["empty"], pagetest.Options),
		"audit":  page.OfAudit(pagetest.Audit(1, nil), pagetest.Options),
		"diff":   page.OfDiff(pagetest.Comparison(t, "unsure"), pagetest.Options),
	} {
		text := regexp.MustCompile(`(?s)(<style>|<script type="module">).*?(</style>|</script>)`).ReplaceAllString(written(t, p), "$1…$2")
		text = regexp.MustCompile(`&#39;sha256-.*?&#39;`).ReplaceAllString(text, "&#39;sha256-…&#39;")
		testutil.Golden(t, filepath.Join("testdata", name+".html"), []byte(text), *update)
	}
}

// cellsOf returns the names of the states of a container by capability, as the page shows them.
func cellsOf(p page.Page, row page.Row) map[string]string {
	cells := make(map[string]string)
	for i, key := range row.Cells {
		lower := strings.ToLower(string(key))
		at := slices.IndexFunc(p.States, func(s page.State) bool { return s.Key == lower })
		if key == ' ' {
			continue
		}
		name := p.States[at].Name
		if lower != string(key) {
			name += ", also denied"
		}
		cells[p.Capabilities[i]] = name
	}
	return cells
}

func TestCellsHaveTheirStates(t *testing.T) {
	for name, want := range map[string]map[string]string{
		"needs-and-unused": {"CHOWN": "used", "NET_BIND_SERVICE": "used", "FSETID": "soft", "NET_RAW": "unused", "SETUID": "unused", "SYS_ADMIN": ""},
		"unsure":           {"IPC_LOCK": "unsure", "KILL": "used", "NET_RAW": "unused"},
		"spared":           {"DAC_OVERRIDE": "used", "DAC_READ_SEARCH": "spared"},
		"denied":           {"SYS_TIME": "denied", "CHOWN": "used"},
		"files":            {"DAC_OVERRIDE": "used, also denied"},
		"existed":          {"CHOWN": "used", "NET_RAW": "not seen"},
		"incomplete":       {"CHOWN": "used", "NET_RAW": "not seen"},
		"never-started":    {"NET_RAW": "not seen"},
		"proved":           {"DAC_READ_SEARCH": "proved", "CHOWN": "proved", "NET_RAW": "unused", "DAC_OVERRIDE": "unused"},
		"proved-in-part":   {"CHOWN": "unsure", "DAC_READ_SEARCH": "proved"},
		"privileged":       {"SYS_ADMIN": "used", "SYS_MODULE": "unused"},
		"without-grants":   {"CHOWN": "used", "NET_RAW": ""},
		"nothing-granted":  {"NET_RAW": ""},
		"disagreement":     {"SYS_TIME": "unused", "63": "unused"},
	} {
		p := page.OfProfile(reporttest.Profiles()[name], pagetest.Options)
		cells := cellsOf(p, p.Containers[0].Row)
		for c, state := range want {
			if cells[c] != state {
				t.Errorf("%s: %s is %q, wanted %q", name, c, cells[c], state)
			}
		}
	}
}

// What is only perhaps unused must not look unused.
func TestAuditsShowWhatIsNotCertain(t *testing.T) {
	p := page.OfAudit(pagetest.Audit(8, nil), pagetest.Options)
	states := make(map[string]map[string]string)
	for _, c := range p.Containers {
		states[c.Title] = cellsOf(p, c.Row)
	}
	for title, want := range map[string]string{
		"shop-1-web-1":   "unused",
		"shop-1-cache-1": "not seen", // fails with the complete default, but capmon did not see its start
		"shop-1-mail-1":  "not seen", // checks were lost
	} {
		if got := states[title]["AUDIT_WRITE"]; got != want {
			t.Errorf("%s: %q, wanted %q", title, got, want)
		}
	}
	if got := states["old"]["CHOWN"]; got != "not observed" {
		t.Errorf("a container that was never observed: %q", got)
	}
}

func TestWaivedCells(t *testing.T) {
	waivers, err := waiver.Parse("waivers.yaml", []byte(`waivers: [{container: "shop-1-web-*", capabilities: [NET_RAW, CHOWN], reason: r, owner: o, expires: 2099-01-01}]`))
	if err != nil {
		t.Fatal(err)
	}
	p := page.OfAudit(pagetest.Audit(8, waivers), pagetest.Options)
	for _, c := range p.Containers {
		if c.Title != "shop-1-web-1" {
			continue
		}
		cells := cellsOf(p, c.Row)
		for name, want := range map[string]string{"NET_RAW": "waived", "MKNOD": "unused", "CHOWN": "used"} {
			if cells[name] != want {
				t.Errorf("%s is %q, wanted %q", name, cells[name], want)
			}
		}
		return
	}
	t.Error("the container is missing")
}

func TestDiffCells(t *testing.T) {
	for name, want := range map[string]map[string]string{
		"new":        {"NET_RAW": "new", "NET_BIND_SERVICE": "new", "CHOWN": "same"},
		"gone":       {"NET_RAW": "gone", "CHOWN": "same"},
		"changed":    {"CHOWN": "changed", "NET_BIND_SERVICE": "changed"},
		"unsure":     {"NET_RAW": "perhaps new", "CHOWN": "perhaps gone"},
		"denied":     {"SYS_ADMIN": "new", "NET_RAW": "granted"},
		"denied-now": {"NET_RAW": "changed"},
		"same":       {"CHOWN": "same", "SYS_ADMIN": ""},
	} {
		p := page.OfDiff(pagetest.Comparison(t, name), pagetest.Options)
		cells := cellsOf(p, p.Containers[0].Row)
		for c, state := range want {
			if cells[c] != state {
				t.Errorf("%s: %s is %q, wanted %q", name, c, cells[c], state)
			}
		}
	}
}

// A reader sees all cautions before the settings. There are no settings for a container whose start capmon did not see.
func TestAllCautionsStandBeforeTheSettings(t *testing.T) {
	for name, profile := range reporttest.Profiles() {
		for _, anyStart := range []bool{false, true} {
			options := pagetest.Options
			options.AnyStart = anyStart
			p := page.OfProfile(profile, options)
			for i, c := range settings.Containers(profile) {
				blocks := p.Containers[i].Details
				last := len(blocks) - 1
				var before []string
				for _, block := range blocks[:last] {
					if block.Kind == page.CautionsBlock || block.Kind == page.ListBlock {
						before = append(before, block.Items...)
					}
				}
				if notes := report.Notes(c.Summary); !slices.Equal(notes, before) {
					t.Errorf("%s: %q, wanted %q", name, before, notes)
				}
				has := blocks[last].Kind == page.SettingsBlock && slices.ContainsFunc(blocks[last].For, func(s page.Settings) bool { return len(s.Lines) > 0 })
				if want := c.Unavailable() == "" && (c.StartSeen() || anyStart); has != want {
					t.Errorf("%s, any start %v: has settings: %v", name, anyStart, has)
				}
			}
		}
	}
}

// Replicas of a Compose service have their settings in common: the settings of one alone lack what the others need.
func TestReplicasShareSettings(t *testing.T) {
	fleet := reporttest.Fleet(8)
	web, other := fleet.Runs[0], fleet.Runs[0]
	other.ID, other.Container.ID, other.Container.Name = "other", strings.Repeat("d", 64), "shop-1-web-2"
	other.Uses = fleet.Runs[6].Uses // another program
	stranger := other
	stranger.ID, stranger.Container.ID, stranger.Container.Name = "stranger", strings.Repeat("c", 64), "blog-web-1"
	stranger.Container.Labels = map[string]string{"com.docker.compose.project": "blog", "com.docker.compose.service": "web"}
	p := page.OfProfile(profile.New(web, other, stranger), pagetest.Options)
	texts := make(map[string]string)
	for _, c := range p.Containers {
		block := c.Details[len(c.Details)-1]
		texts[c.Title] = block.For[0].Target + ": " + strings.Join(block.For[0].Lines, "\n")
	}
	const all, own = "cap_add: [CHOWN, KILL, NET_BIND_SERVICE, SETGID, SETUID]", "cap_add: [CHOWN, KILL, SETGID, SETUID]"
	if text := texts["shop-1-web-1"]; text != texts["shop-1-web-2"] || !strings.HasPrefix(text, "compose: ") || !strings.Contains(text, all) {
		t.Errorf("%s", texts)
	}
	if !strings.Contains(texts["blog-web-1"], own) {
		t.Errorf("a service of another project: %s", texts["blog-web-1"])
	}
}

func TestViews(t *testing.T) {
	p := pagetest.Fleet(24) // three projects
	var got []string
	for _, view := range p.Views {
		got = append(got, fmt.Sprintf("%s %d", view.Name, len(view.Rows)))
	}
	if want := []string{"container 24", "image 8", "service 24", "namespace 3", "host 2"}; !slices.Equal(got, want) {
		t.Errorf("%q, wanted %q", got, want)
	}
	image := p.Views[1].Rows[0]
	if image.Title != "gitlab/gitlab-runner:v17.1 (3)" || len(image.Members) != 3 || p.Containers[image.Members[0]].Title != "shop-1-ci-runner-1" {
		t.Errorf("%+v", image)
	}
	namespace := cellsOf(p, p.Views[3].Rows[0])
	for c, want := range map[string]string{"CHOWN": "used", "SYS_MODULE": "unused", "NET_RAW": "used", "SYS_TIME": "unused, also denied", "IPC_LOCK": "unsure"} {
		if namespace[c] != want {
			t.Errorf("%s is %q, wanted %q", c, namespace[c], want)
		}
	}
	if host := p.Views[4].Rows[0]; host.Title != "node-1 (16)" {
		t.Errorf("%+v", host)
	}
	one := pagetest.Fleet(8) // one project, on one host
	if last := one.Views[len(one.Views)-1].Name; last != "service" {
		t.Errorf("the last view is %q", last)
	}
	replicas := page.OfProfile(reporttest.Profiles()["service"], pagetest.Options)
	if replicas.Views[0].Name != "container" { // the tasks of a service are one container
		t.Errorf("%+v", replicas.Views)
	}
}

// Keys are in links: they have to be unique and stay the same.
func TestKeysAreUnique(t *testing.T) {
	for _, text := range pagetest.HostileTexts() {
		p := page.OfProfile(pagetest.Hostile(text[:min(len(text), 1000)]), pagetest.Options)
		seen := make(map[string]bool)
		for _, c := range p.Containers {
			if seen[c.Key] || len(c.Key) > 400 {
				t.Errorf("%.100q", c.Key)
			}
			seen[c.Key] = true
		}
	}
}

// The first view has the order and the numbers of the overview.
func TestTheGravestContainersComeFirst(t *testing.T) {
	p := pagetest.Fleet(8)
	if first := p.Views[0].Rows[p.Advice[0].Row]; first.Title != "shop-1-ci-runner-1" || p.Advice[0].Text != "it is privileged: it has all 41 capabilities, and capmon saw 2 in use" {
		t.Errorf("%q: %q", first.Title, p.Advice[0].Text)
	}
	var figures []string
	for _, f := range p.Figures {
		figures = append(figures, f.Number+" "+f.Label)
	}
	want := "8 containers: 4 unused, 2 unsure, 2 fits; 118 capabilities granted; 72 of them unused; 22 perhaps unused; 1 privileged; 3 with unused NET_RAW"
	if got := strings.Join(figures, "; "); got != want {
		t.Errorf("%s, wanted %s", got, want)
	}
}

// The scripts and the style sheet know what this package defines.
func TestScriptsAndStyleFitThePackage(t *testing.T) {
	script, live, style := read(t, "page.mjs"), read(t, "live.mjs"), read(t, "page.css")
	for _, s := range page.States() {
		if !strings.Contains(style, ".s"+s.Key+"::before") || !regexp.MustCompile(`\.matrix [^{]*\.s`+s.Key+`\b[^{]*\{[^}]*background-color`).MatchString(style) {
			t.Errorf("the style sheet lacks a sign or a color of %s", s.Name)
		}
	}
	for _, kind := range []page.Kind{page.FactsBlock, page.TableBlock, page.TimelineBlock, page.CodeBlock, page.SettingsBlock} {
		if !strings.Contains(script, fmt.Sprintf("case %q:", kind)) {
			t.Errorf("the script has no case for blocks of the kind %s", kind)
		}
	}
	for name, script := range map[string]string{"page.mjs": script, "live.mjs": live} {
		for _, text := range []string{"</script", "<!--", "innerHTML", "eval("} {
			if strings.Contains(script, text) {
				t.Errorf("%s contains %s", name, text)
			}
		}
	}
	if want := fmt.Sprintf("\nconst manyRows = %d;\n", page.ManyRows); !strings.Contains(script, want) {
		t.Errorf("page.mjs lacks %q", want)
	}
	if want := fmt.Sprintf("\nconst maxAlerts = %d;\n", page.MaxAlerts); !strings.Contains(live, want) {
		t.Errorf("live.mjs lacks %q", want)
	}
	if strings.Contains(style, "</style") || strings.Contains(style, "url(") {
		t.Error("the style sheet contains </style or url(")
	}
}

func read(t *testing.T, name string) string {
	t.Helper()
	text, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// A container can have the name of many others, or a name like one that a page gives to a namesake.
func TestKeysOfNamesakes(t *testing.T) {
	t.Parallel()
	got := page.Keys([]string{"web", "web", "web-2", "web-3", "web", strings.Repeat("x", 100), strings.Repeat("x", 100)})
	short := strings.Repeat("x", 40)
	want := []string{"web", "web-2", "web-2-2", "web-3", "web-4", got[5], short + "-2"}
	if !slices.Equal(got, want) {
		t.Errorf("the keys are %v, wanted %v", got, want)
	}
	const many = 100_000 // takes hours if each key compares with all others
	if all := page.Keys(slices.Repeat([]string{"web"}, many)); all[many-1] != fmt.Sprint("web-", many) {
		t.Errorf("the last key is %s", all[many-1])
	}
}

// Many containers can be replicas of one service.
func TestSettingsOfReplicasAreWrittenOnce(t *testing.T) {
	t.Parallel()
	p := reporttest.Fleet(8)
	for i := range p.Runs {
		p.Runs[i].Container.Image = "shop:1"
		p.Runs[i].Container.Labels = map[string]string{"com.docker.compose.project": "shop", "com.docker.compose.service": "web"}
	}
	containers := page.OfProfile(p, pagetest.Options).Containers
	compose := func(c page.Container) page.Settings {
		for _, block := range c.Details {
			for _, one := range block.For {
				if one.Target == "compose" {
					return one
				}
			}
		}
		t.Fatalf("%s has no settings for compose", c.Title)
		return page.Settings{}
	}
	first := compose(containers[0])
	for _, c := range containers[1:] {
		if one := compose(c); !slices.Equal(one.Notes, first.Notes) || &one.Notes[0] != &first.Notes[0] {
			t.Errorf("the settings of %s were written again", c.Title)
		}
	}
}

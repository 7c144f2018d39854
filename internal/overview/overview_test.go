package overview

import (
	"flag"
	"fmt"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/jedib0t/go-pretty/v6/text"

	"github.com/capmon/capmon/capability"
	"github.com/capmon/capmon/internal/testutil"
)

var update = flag.Bool("update", false, "write the golden files")

func ptr[T any](v T) *T { return &v }

func row(status Status, title, image string, granted, used capability.Set) Row {
	return Row{Status: status, Title: title, Image: image, Granted: &granted, Used: used, Unused: granted.Minus(used), Observed: 600 * time.Second, Runs: 1}
}

// some returns an overview with a row of each kind.
func some() Overview {
	standard := capability.DockerDefault()
	all := capability.Known(capability.CheckpointRestore)
	privileged := row(Fail, "ci-runner", "gitlab/gitlab-runner:v17.1", all, capability.Of(capability.SysAdmin, capability.Chown))
	privileged.Privileged = true
	unobserved := row(Manual, "never-seen", "redis:7", standard, 0)
	unobserved.Runs, unobserved.Unused = 0, standard
	unknown := row(Manual, "gone", "registry.example.com/team/product/component-with-a-long-name:2026-11-28", standard, 0)
	unknown.Granted, unknown.Unused = nil, 0
	rows := []Row{
		row(Pass, "tight", "app", capability.Of(capability.NetBindService), capability.Of(capability.NetBindService)),
		row(Fail, "web-10", "nginx:1.27", standard, capability.Of(capability.Chown, capability.Setuid, capability.Setgid, capability.NetBindService)),
		row(Fail, "web-2", "nginx:1.27", standard, capability.Of(capability.Chown, capability.Setuid, capability.Setgid)),
		row(Fail, "adds-admin", "vpn", standard.With(capability.NetAdmin).Without(capability.NetRaw), capability.Of(capability.Chown)),
		row(Waived, "backup", "restic", capability.Of(capability.DACReadSearch), 0),
		privileged, unobserved, unknown,
	}
	for i := range rows {
		if rows[i].Image == "nginx:1.27" {
			rows[i].Replica = "web"
		}
	}
	return New(rows)
}

func TestTheGravestRowComesFirst(t *testing.T) {
	var titles []string
	for _, r := range some().Rows {
		titles = append(titles, r.Title)
	}
	want := []string{"ci-runner", "adds-admin", "web-2", "never-seen", "gone", "backup", "tight"}
	if !slices.Equal(titles, want) {
		t.Errorf("%v, wanted %v", titles, want)
	}
}

func TestNamesAreInNaturalOrder(t *testing.T) {
	names := []string{"web-10", "db", "web-2", "web-2a", "web", "10", "9"}
	slices.SortFunc(names, CompareNames)
	if want := []string{"9", "10", "db", "web", "web-2", "web-2a", "web-10"}; !slices.Equal(names, want) {
		t.Errorf("%v, wanted %v", names, want)
	}
}

func TestReplicasAreOneRow(t *testing.T) {
	standard := capability.DockerDefault()
	chown, kill := capability.Of(capability.Chown), capability.Of(capability.Kill)
	base := row(Unused, "web-1", "web", standard, chown)
	base.Replica = "web"
	for name, c := range map[string]struct {
		change func(*Row)
		joined bool
	}{
		"same":                 {func(*Row) {}, true},
		"other use":            {func(r *Row) { r.Used, r.Unused = kill, standard.Minus(kill) }, true},
		"other replica":        {func(r *Row) { r.Replica = "db" }, false},
		"no replica":           {func(r *Row) { r.Replica = "" }, false},
		"other image":          {func(r *Row) { r.Image = "web:2" }, false},
		"other status":         {func(r *Row) { r.Status = Unsure }, false},
		"other grants":         {func(r *Row) { r.Granted = ptr(standard.Without(capability.Kill)) }, false},
		"unknown grants":       {func(r *Row) { r.Granted = nil }, false},
		"privileged":           {func(r *Row) { r.Privileged = true }, false},
		"doubtful":             {func(r *Row) { r.Doubtful = r.Unused }, false},
		"nothing unused":       {func(r *Row) { r.Unused = 0 }, false},
		"no common unused":     {func(r *Row) { r.Unused = chown }, false},
		"one common is enough": {func(r *Row) { r.Unused = kill }, true},
	} {
		other := base
		other.Title = "web-2"
		c.change(&other)
		got := New([]Row{other, base})
		if joined := len(got.Rows) == 1; joined != c.joined {
			t.Errorf("%s: %+v", name, got.Rows)
		}
		if c.joined {
			r := got.Rows[0]
			if r.Title != "web-1" || !slices.Equal(r.Members, []string{"web-1", "web-2"}) || r.Used != base.Used.Union(other.Used) || r.Unused != base.Unused.Intersect(other.Unused) || r.Runs != 1 {
				t.Errorf("%s: %+v", name, r)
			}
		}
		if got.Totals.Containers != 2 || got.Totals.Unused+got.Totals.Unseen != base.Unused.Len()+other.Unused.Len() {
			t.Errorf("%s: %+v", name, got.Totals)
		}
	}
}

// Advice breaks its sentences between words, and keeps commands whole.
func TestAdviceFitsTheTerminal(t *testing.T) {
	command := []string{"capmon", "report", strings.Repeat("long", 20)}
	got := Advice(some(), command, "--container", 60)
	if unlimited := Advice(some(), command, "--container", 0); strings.Join(strings.Fields(got), " ") != strings.Join(strings.Fields(unlimited), " ") {
		t.Errorf("%s\ndiffers from\n%s", got, unlimited)
	}
	for line := range strings.Lines(got) {
		line = strings.TrimSuffix(line, "\n")
		isCommand := strings.HasPrefix(line, "  capmon ")
		if n := text.StringWidth(line); n > 60 && !isCommand || isCommand && !strings.Contains(line, command[2]) || line != strings.TrimRight(line, " ") {
			t.Errorf("%d columns: %q", n, line)
		}
	}
}

func TestTable(t *testing.T) {
	for _, width := range []int{0, 80, 120, 200} {
		t.Run(fmt.Sprint(width), func(t *testing.T) {
			got := Table(some(), Options{Width: width})
			testutil.Golden(t, filepath.Join("testdata", fmt.Sprintf("table-%d.txt", width)), []byte(got), *update)
			for line := range strings.Lines(got) {
				if n := text.StringWidth(strings.TrimSuffix(line, "\n")); width > 0 && n > width {
					t.Errorf("%d columns: %s", n, line)
				}
			}
		})
	}
}

// A container's name and image can contain anything.
func TestHostileNamesKeepTheTable(t *testing.T) {
	var rows []Row
	for _, name := range []string{"\x1b[31mred", "two\nlines", strings.Repeat("x", 1<<20), "宽" + strings.Repeat("宽", 200), "\u202eevil", "e\u0301\u0301\u0301", "a\tb", ""} {
		rows = append(rows, row(Unused, name, name, capability.DockerDefault(), 0))
	}
	got := Table(New(rows), Options{Width: 80, Color: false})
	if n := strings.Count(got, "\n"); n != len(rows)+5 {
		t.Errorf("%d lines", n)
	}
	for line := range strings.Lines(got) {
		if width := text.StringWidth(strings.TrimSuffix(line, "\n")); width > 80 || strings.ContainsAny(line, "\x1b\t\u202e") {
			t.Errorf("%d columns: %q", width, line)
		}
	}
}

func TestColorsAreOnlyOnTheStatus(t *testing.T) {
	text.EnableColors()
	plain, colored := Table(some(), Options{Width: 80}), Table(some(), Options{Width: 80, Color: true})
	if text.StripEscape(colored) != plain || !strings.Contains(colored, text.FgRed.Sprint("FAIL  ")) {
		t.Errorf("%q", colored)
	}
}

func TestSortedMakesEachRowOnce(t *testing.T) {
	standard := capability.DockerDefault()
	rows := map[string]Row{
		"b": row(Unused, "web-10", "web", standard, 0), "c": row(Unused, "web-2", "web", standard, 0),
		"a": row(Fits, "tight", "app", 0, 0), "d": row(Unused, "web-2", "web", standard, 0),
	}
	made := 0
	got := Sorted([]string{"a", "b", "d", "c"}, func(key string) Row { made++; return rows[key] })
	if !slices.Equal(got, []string{"d", "c", "b", "a"}) || made != len(rows) {
		t.Errorf("%v, with %d rows made", got, made)
	}
}

// A capability that is certainly unused is graver than many that may be unused.
func TestCertainlyUnusedCapabilitiesComeFirst(t *testing.T) {
	doubtful := row(Fail, "a", "web", capability.DockerDefault(), 0)
	doubtful.Doubtful = doubtful.Unused
	certain := row(Fail, "b", "web", capability.Of(capability.Kill), 0)
	if o := New([]Row{doubtful, certain}); o.Rows[0].Title != "b" {
		t.Errorf("%+v", o.Rows)
	}
}

func TestTheMostPowerfulCapabilityComesFirst(t *testing.T) {
	trace := row(Fail, "a", "web", capability.Of(capability.SysPtrace, capability.Kill), 0)
	admin := row(Fail, "b", "web", capability.Of(capability.SysAdmin), 0)
	if o := New([]Row{trace, admin}); o.Rows[0].Title != "b" {
		t.Errorf("%+v", o.Rows)
	}
}

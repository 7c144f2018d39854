package markdown

import (
	"errors"
	"strings"
	"testing"
)

func written(t *testing.T, d *Document) string {
	t.Helper()
	var out strings.Builder
	if err := d.Write(&out, "ALL"); err != nil {
		t.Fatal(err)
	}
	return out.String()
}

func TestSummary(t *testing.T) {
	for want, c := range map[string][3]string{
		`<code>web</code> of <code>nginx</code>: needs 1 &#34;word&#34; of <code>@team</code>:`: {"web", "nginx", `needs 1 "word" of @team:`},
		"<code>&lt;/code&gt;&lt;b&gt;</code>: <code>a|`b`\\n</code>":                            {"</code><b>", "", "a|`b`\n"},
	} {
		if got := Summary(c[0], c[1], c[2]); got != want {
			t.Errorf("%q became\n%s, want\n%s", c, got, want)
		}
	}
}

func TestDocument(t *testing.T) {
	d := &Document{Details: []Details{{Summary: "<code>a</code>: b", Open: true, Full: "c\n\n", Short: "d\n\n"}, {Summary: "e", Full: "f\n\n"}}}
	d.Head.WriteString("**Result**\n\n" + List([]string{"g", "h"}) + Table([]string{"I", "J"}, [][]string{{"k", "l"}}))
	const want = "**Result**\n\n- g\n- h\n\n| I | J |\n| --- | --- |\n| k | l |\n\n" +
		"<details open>\n<summary><code>a</code>: b</summary>\n\nc\n\n</details>\n\n<details>\n<summary>e</summary>\n\nf\n\n</details>\n"
	if got := written(t, d); got != want {
		t.Errorf("got\n%s, want\n%s", got, want)
	}
}

// A document that is too long lacks evidence first, then details as a whole. It keeps the details that fit.
func TestDocumentsAreLimited(t *testing.T) {
	text := func(letter string, size int) string { return strings.Repeat(letter, size) + "\n\n" }
	for name, c := range map[string]struct {
		details []Details
		want    []string
		note    string
	}{
		"fits":                  {[]Details{{Full: text("a", 100)}}, []string{"aaa"}, ""},
		"too much evidence":     {[]Details{{Full: text("a", Limit), Short: text("b", 100)}}, []string{"These details are shortened", "bbb"}, "shortened for 1 of 1 container"},
		"one fills its room":    {[]Details{{Full: text("a", 2*detailsLimit), Short: text("b", 2*detailsLimit)}, {Full: text("c", 10)}}, []string{"ccc"}, "left out for 1 of 2 containers"},
		"many":                  {[]Details{{Full: text("a", detailsLimit/2), Short: "s\n\n"}, {Full: text("b", 2*detailsLimit), Short: "t\n\n"}, {Full: text("c", 2*detailsLimit), Short: text("d", 2*detailsLimit)}}, []string{"aaa", "t\n"}, "shortened for 1 and left out for 1 of 3 containers"},
		"a smaller one follows": {[]Details{{Full: text("a", detailsLimit-100)}, {Full: text("b", detailsLimit-100)}, {Full: text("c", detailsLimit-100)}, {Full: text("d", detailsLimit-100), Short: text("d", detailsLimit-200)}, {Full: text("e", 10)}}, []string{"aaa", "bbb", "ccc", "eee"}, "left out for 1 of 5 containers"},
	} {
		got := written(t, &Document{Details: c.details})
		if len(got) > Limit || strings.Contains(got, "Details are") != (c.note != "") || c.note != "" && !strings.HasSuffix(got, "Details are "+c.note+", because a comment has at most 65,536 characters.** ALL\n") {
			t.Errorf("%s: %d bytes: …%s", name, len(got), got[max(0, len(got)-300):])
		}
		if n := strings.Count(got, "</details>\n"); n != strings.Count(got, "<details>\n") {
			t.Errorf("%s: %d ends of details", name, n)
		}
		for _, part := range c.want {
			if !strings.Contains(got, part) {
				t.Errorf("%s lacks %s", name, part)
			}
		}
	}
}

type full struct{}

var errFull = errors.New("no space left on device")

func (full) Write([]byte) (int, error) { return 0, errFull }

func TestWriteReturnsErrors(t *testing.T) {
	if err := (&Document{}).Write(full{}, ""); !errors.Is(err, errFull) {
		t.Error(err)
	}
}

package waiver

import (
	"cmp"
	"fmt"
	"os"
	"regexp"
	"strings"
	"time"
	"unicode"

	"github.com/goccy/go-yaml/ast"

	"github.com/capmon/capmon/capability"
	"github.com/capmon/capmon/internal/container"
	"github.com/capmon/capmon/internal/strictyaml"
)

// Load reads a file of waivers. The error is a [*strictyaml.Error], or an error of package os if the file cannot be
// read.
func Load(path string) (*File, error) {
	data, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	return Parse(path, data)
}

// Parse reads waivers in YAML, strictly: unknown keys and keys without a value are errors. path is for errors.
func Parse(path string, data []byte) (*File, error) {
	file, err := parse(data)
	if err != nil {
		return nil, strictyaml.Explain(path, err)
	}
	file.Path = path
	return file, nil
}

func parse(data []byte) (*File, error) {
	body, err := strictyaml.Parse(data, "a file of waivers", "waivers")
	if err != nil {
		return nil, err
	}
	var file File
	if err := strictyaml.Decode(body, &file); err != nil {
		return nil, err
	}
	if file.Waivers == nil {
		return nil, strictyaml.ErrorAt(body, "there is no key waivers: add it, with a list of waivers or with [] for none")
	}
	for i := range file.Waivers {
		if err := file.Waivers[i].check(body, fmt.Sprintf("$.waivers[%d]", i)); err != nil {
			return nil, err
		}
	}
	return &file, nil
}

// check validates the values, compiles the patterns, and sets the line of the waiver.
func (w *Waiver) check(body ast.Node, path string) error {
	node := strictyaml.FirstKey(strictyaml.NodeAt(body, path))
	w.Line = strictyaml.Line(node)
	switch {
	case w.Container == "" && w.Image == "":
		return strictyaml.ErrorAt(node, "this waiver selects no container: add container or image")
	case w.Capabilities.Empty():
		return strictyaml.ErrorAt(node, "this waiver has no capabilities: name those whose risk is accepted, such as [NET_RAW], or [ALL]")
	case w.Reason == "":
		return strictyaml.ErrorAt(node, "this waiver has no reason: explain why the risk is accepted")
	case w.Owner == "":
		return strictyaml.ErrorAt(node, "this waiver has no owner: name the person or team that accepts the risk")
	case w.Expires.IsZero():
		return strictyaml.ErrorAt(node, "this waiver does not expire: add expires, the last day on which it is valid, such as 2027-03-31")
	}
	var err error
	if w.containers, err = container.NewFilter([]string{string(w.Container)}, nil, nil); err != nil {
		return strictyaml.ErrorAt(strictyaml.NodeAt(body, path+".container"), "container: %v", err)
	}
	if err := w.compileImage(); err != nil {
		return strictyaml.ErrorAt(strictyaml.NodeAt(body, path+".image"), "image: %v", err)
	}
	return nil
}

// digest matches the IDs and digests of images.
var digest = regexp.MustCompile(`^sha256:[0-9a-f]{64}$`)

// compileImage separates the name from the digest in Image.
func (w *Waiver) compileImage() (err error) {
	name, of, hasDigest := strings.Cut(string(w.Image), "@")
	if strings.HasPrefix(name, "sha256:") {
		name, of, hasDigest = "", string(w.Image), true
	}
	if hasDigest && !digest.MatchString(of) {
		return fmt.Errorf("%q is not a digest: write sha256: and its 64 hexadecimal digits", of)
	}
	w.digest = of
	w.images, err = container.NewFilter(nil, []string{name}, nil)
	return err
}

// UnmarshalYAML reads a list of names.
func (c *Capabilities) UnmarshalYAML(node ast.Node) error {
	const notList, notName = "capabilities must be a list, such as [NET_RAW, CHOWN]", "an element must be the name of a capability, such as NET_RAW"
	return strictyaml.ReadList(node, notList, notName, func(name string) error {
		set, err := capability.ParseSet(name)
		c.Set = c.Union(set)
		return err
	})
}

// UnmarshalYAML reads one pattern.
func (p *Pattern) UnmarshalYAML(node ast.Node) error {
	text, ok := scalar(node)
	switch {
	case !ok:
		return strictyaml.ErrorAt(node, "the value must be one name or pattern, such as ci-*: write a waiver for each pattern")
	case text == "":
		return strictyaml.ErrorAt(node, "the pattern is empty: write a name or pattern, or remove the key")
	}
	*p = Pattern(text)
	return nil
}

// UnmarshalYAML reads a text. Line feeds become blanks.
func (t *Text) UnmarshalYAML(node ast.Node) error {
	text, ok := scalar(node)
	text = strings.Join(strings.Fields(text), " ")
	switch {
	case !ok:
		return strictyaml.ErrorAt(node, "the value must be a text")
	case text == "":
		return strictyaml.ErrorAt(node, "the text is empty: write one")
	case strings.ContainsFunc(text, func(r rune) bool { return !unicode.IsPrint(r) }):
		return strictyaml.ErrorAt(node, "the text %q has characters that cannot be printed", text)
	}
	*t = Text(text)
	return nil
}

// The years in which a waiver may expire. A date that is further away would accept a risk forever.
const firstYear, lastYear = 2000, 2099

// UnmarshalYAML reads a date.
func (d *Date) UnmarshalYAML(node ast.Node) error {
	text, _ := scalar(node)
	date, err := time.Parse(dateForm, text)
	switch {
	case err != nil:
		return strictyaml.ErrorAt(node, "%q is not a date such as 2027-03-31", cmp.Or(text, node.String()))
	case date.Year() < firstYear || date.Year() > lastYear:
		return strictyaml.ErrorAt(node, "the date %s is not possible: use one from %d to %d", text, firstYear, lastYear)
	}
	d.Time = date
	return nil
}

// scalar returns the text of a scalar.
func scalar(node ast.Node) (text string, ok bool) {
	switch node := node.(type) {
	case *ast.StringNode:
		return node.Value, true
	case *ast.LiteralNode:
		return node.Value.Value, true
	case *ast.IntegerNode, *ast.FloatNode:
		return node.GetToken().Value, true
	}
	return "", false
}

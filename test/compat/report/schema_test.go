// Package report_test compares the output of reports with the JSON Schemas in docs/schema, and with the libraries that
// read the output.
package report_test

import (
	"bytes"
	"encoding/json"
	"flag"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"io"
	"maps"
	"os"
	"path/filepath"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/goccy/go-yaml"
	"github.com/invopop/jsonschema"
	validator "github.com/santhosh-tekuri/jsonschema/v6"

	"github.com/capmon/capmon/capability"
	"github.com/capmon/capmon/internal/alert"
	"github.com/capmon/capmon/internal/classify"
	"github.com/capmon/capmon/internal/compare"
	"github.com/capmon/capmon/internal/policy"
	"github.com/capmon/capmon/internal/printable"
	"github.com/capmon/capmon/internal/profile"
	"github.com/capmon/capmon/internal/report"
	"github.com/capmon/capmon/internal/report/reporttest"
	"github.com/capmon/capmon/internal/rules"
	"github.com/capmon/capmon/internal/sink"
	"github.com/capmon/capmon/internal/testutil"
	"github.com/capmon/capmon/internal/uses"
	"github.com/capmon/capmon/internal/waiver"
	"github.com/capmon/capmon/monitor"
)

var update = flag.Bool("update", false, "write the schemas instead of comparing with them")

// schemas is the directory of the JSON Schemas, published the address at which users can read them.
const (
	schemas   = "../../../docs/schema"
	published = "https://raw.githubusercontent.com/capmon/capmon/main/docs/schema/"
)

// reportTypes are the types of package report by the names of their schemas.
var reportTypes = report.JSONTypes()

// described maps the name of each schema to the type that it describes.
var described = map[string]struct {
	of    any
	title string
	tag   string // the struct tag with the names of the fields
}{
	"profile": {profile.Profile{}, "A profile, as capmon profile --save and capmon merge write it", "json"},
	"report":  {reportTypes["report"], "A report, as capmon report -o json prints it", "json"},
	"diff":    {reportTypes["diff"], "A comparison, as capmon diff -o json prints it", "json"},
	"check":   {reportTypes["check"], "The result of a check, as capmon check -o json prints it", "json"},
	"verify":  {reportTypes["verify"], "A proof, as capmon verify -o json prints it", "json"},
	"watch":   {uses.Use{}, "A line of capmon watch -o json", "json"},
	"policy":  {policy.Policy{}, "A policy, as capmon check --policy reads it", "yaml"},
	"alert":   {alert.Alert{}, "A line of capmon watch --rules FILE -o json", "json"},
	"rules":   {rules.File{}, "A file of rules, as capmon watch --rules reads it", "yaml"},
	"message": {sink.Message{}, "A message to a webhook without preset or template", "json"},
	"waivers": {waiver.File{}, "Waivers, as --waivers of capmon audit and capmon check reads them", "yaml"},
	"trial":   {rules.TestResult{}, "A test of rules on profiles, as capmon rules test -o json prints it", "json"},
}

// words returns the types that have a fixed list of strings as values.
func words() map[reflect.Type][]any {
	all := make(map[reflect.Type][]any)
	add(all, classify.Classes()...)
	add(all, monitor.Hooks()...)
	add(all, profile.Needed, profile.Unneeded, profile.Unsure)
	add(all, compare.ByChoice, compare.ByService, compare.ByName, compare.ByImage, compare.ByOnly)
	add(all, compare.Unused, compare.Needed, compare.Denied, compare.Unneeded)
	add(all, compare.New, compare.Changed, compare.Gone, compare.Same)
	add(all, compare.Class, compare.Granted, compare.Program, compare.Call, compare.Site)
	add(all, policy.Used, policy.Denied, policy.Granted, policy.Unused, policy.Unknown, policy.LongSetup, policy.Incomplete, policy.Unwitnessed, policy.Unproved, policy.Unmatched, policy.New)
	add(all, policy.Pass, policy.Fail)
	add(all, uses.RawSockets()...)
	add(all, alert.Severities()...)
	add(all, rules.Outcomes()...)
	add(all, rules.Granted, rules.Denied)
	add(all, waiver.States()...)
	add(all, rules.First, rules.Every)
	return all
}

func add[T ~string](all map[reflect.Type][]any, values ...T) {
	var list []any
	for _, value := range values {
		list = append(list, string(value))
	}
	all[reflect.TypeFor[T]()] = list
}

// definitions returns the schemas of the types with their own JSON encoding.
func definitions() map[reflect.Type]*jsonschema.Schema {
	var names []any
	for c := range capability.Capability(64) {
		names = append(names, c.String())
	}
	one := uint64(1)
	name := &jsonschema.Schema{OneOf: []*jsonschema.Schema{{Type: "string", MinLength: &one}, {Type: "integer", Minimum: "0", Maximum: "63"}}}
	member := reference(reflect.TypeFor[capability.Capability]())
	all := map[reflect.Type]*jsonschema.Schema{
		reflect.TypeFor[capability.Capability](): {
			Type: "string", Enum: names, Description: "The name of a capability as Docker writes it, or its number if capmon does not know a name for it.",
		},
		reflect.TypeFor[capability.Set](): {
			Type: "array", Items: member, UniqueItems: true, Description: "A set of capabilities, sorted by name.",
		},
		reflect.TypeFor[policy.Capabilities](): {
			Type: "array", Description: "A list of capabilities, in upper or lower case, with or without the prefix CAP_; ALL, or DEFAULT for the 14 that Docker grants by default.",
			Items: name,
		},
		reflect.TypeFor[waiver.Capabilities](): {
			Type: "array", Description: "A list of capabilities, in upper or lower case, with or without the prefix CAP_; DEFAULT for the 14 that Docker grants by default, or ALL, which also covers that a container is privileged.",
			Items: &jsonschema.Schema{Type: "string", MinLength: &one}, MinItems: &one,
		},
		reflect.TypeFor[waiver.Pattern](): {Type: "string", MinLength: &one, Description: "A name or a pattern of names."},
		reflect.TypeFor[waiver.Text]():    {Type: "string", MinLength: &one, Description: "A text in one line."},
		reflect.TypeFor[waiver.Date]():    {Type: "string", Format: "date", Description: "A day in UTC, such as 2027-03-31."},
		reflect.TypeFor[rules.Capabilities](): {
			Type: "array", Description: "A list of capabilities, in upper or lower case, with or without the prefix CAP_.", Items: name, MinItems: &one,
		},
		reflect.TypeFor[rules.RawSocket](): {
			Description: "Whether the condition is about the opening of a raw socket, or the families of the raw sockets.",
			OneOf:       []*jsonschema.Schema{{Type: "boolean"}, {Type: "array", Items: reference(reflect.TypeFor[uses.RawSocket]()), MinItems: &one}},
		},
		reflect.TypeFor[rules.Duration](): {
			Type: "string", Pattern: `^(\d+(\.\d*)?|\.\d+)(ns|us|µs|μs|ms|s|m|h)((\d+(\.\d*)?|\.\d+)(ns|us|µs|μs|ms|s|m|h))*$`, Description: "A duration greater than zero, such as 30s, 10m or 1h30m.",
		},
	}
	for t, list := range words() {
		all[t] = &jsonschema.Schema{Type: "string", Enum: list}
	}
	return all
}

// definitionName returns the name of a type, unique among all described types; "" for a type without a name.
func definitionName(t reflect.Type) string {
	if t.Name() == "" || t.PkgPath() == reflect.TypeFor[profile.Run]().PkgPath() {
		return t.Name()
	}
	of := filepath.Base(t.PkgPath())
	return strings.ToUpper(of[:1]) + of[1:] + strings.TrimPrefix(t.Name(), "json")
}

func reference(t reflect.Type) *jsonschema.Schema {
	return &jsonschema.Schema{Ref: "#/$defs/" + definitionName(t)}
}

// generated returns a schema in its published form.
func generated(t *testing.T, name string) []byte {
	t.Helper()
	comments := make(map[string]string)
	for _, dir := range []string{"internal/profile", "internal/compare", "internal/policy", "internal/uses", "internal/alert", "internal/rules", "internal/sink", "internal/waiver", "internal/report"} {
		collectComments(t, dir, comments)
	}
	ours, used := definitions(), make(map[reflect.Type]bool)
	describe := described[name]
	reflector := jsonschema.Reflector{
		ExpandedStruct: true,
		Anonymous:      true,
		FieldNameTag:   describe.tag,
		Namer:          definitionName,
		Lookup: func(t reflect.Type) jsonschema.ID {
			if _, ok := ours[t]; !ok {
				return jsonschema.EmptyID
			}
			used[t] = true
			return jsonschema.ID("#/$defs/" + definitionName(t))
		},
		LookupComment: func(t reflect.Type, field string) string {
			key := t.PkgPath() + "." + t.Name()
			if field != "" {
				key += "." + field
			}
			return comments[key]
		},
	}
	schema := reflector.Reflect(describe.of)
	schema.ID, schema.Title = jsonschema.ID(published+name+".schema.json"), describe.title
	if schema.Definitions == nil {
		schema.Definitions = jsonschema.Definitions{}
	}
	if used[reflect.TypeFor[capability.Set]()] {
		used[reflect.TypeFor[capability.Capability]()] = true
	}
	if used[reflect.TypeFor[rules.RawSocket]()] {
		used[reflect.TypeFor[uses.RawSocket]()] = true
	}
	for t := range used {
		schema.Definitions[definitionName(t)] = ours[t]
	}
	constant := func(property string, value any) {
		if p, ok := schema.Properties.Get(property); ok {
			p.Const = value
		}
	}
	constant("schema", 2)
	constant("version", policy.Version)
	constant("format", profile.Format)
	text, err := json.MarshalIndent(schema, "", "  ")
	if err != nil {
		t.Fatal(err)
	}
	return append(text, '\n')
}

// collectComments adds the doc comments of the types and fields in a package, with PACKAGE.TYPE and PACKAGE.TYPE.FIELD
// as keys.
func collectComments(t *testing.T, dir string, comments map[string]string) {
	t.Helper()
	files, err := filepath.Glob("../../../" + dir + "/*.go")
	if err != nil || len(files) == 0 {
		t.Fatalf("no source in %s: %v", dir, err)
	}
	set := func(key string, text string) {
		comments["github.com/capmon/capmon/"+dir+"."+key] = strings.Join(strings.Fields(text), " ")
	}
	for _, path := range files {
		file, err := parser.ParseFile(token.NewFileSet(), path, nil, parser.ParseComments)
		if err != nil {
			t.Fatal(err)
		}
		for _, decl := range file.Decls {
			general, ok := decl.(*ast.GenDecl)
			if !ok || general.Tok != token.TYPE {
				continue
			}
			for _, spec := range general.Specs {
				of := spec.(*ast.TypeSpec)
				set(of.Name.Name, general.Doc.Text()+of.Doc.Text())
				structure, ok := of.Type.(*ast.StructType)
				if !ok {
					continue
				}
				for _, field := range structure.Fields.List {
					for _, name := range field.Names {
						set(of.Name.Name+"."+name.Name, field.Doc.Text()+field.Comment.Text())
					}
				}
			}
		}
	}
}

func TestPublishedSchemasAreUpToDate(t *testing.T) {
	for name := range described {
		path := filepath.Join(schemas, name+".schema.json")
		testutil.Golden(t, path, generated(t, name), *update)
	}
	files, err := filepath.Glob(schemas + "/*")
	if err != nil || len(files) != len(described) {
		t.Errorf("%d files for %d schemas, %v", len(files), len(described), err)
	}
}

// compiled returns a published schema, compiled with a library that capmon does not use to generate it.
func compiled(t *testing.T, name string) *validator.Schema {
	t.Helper()
	compiler := validator.NewCompiler()
	compiler.DefaultDraft(validator.Draft2020)
	compiler.AssertFormat()
	schema, err := compiler.Compile(filepath.Join(schemas, name+".schema.json"))
	if err != nil {
		t.Fatal(err)
	}
	return schema
}

func instance(t *testing.T, text string) any {
	t.Helper()
	value, err := validator.UnmarshalJSON(strings.NewReader(text))
	if err != nil {
		t.Fatal(err)
	}
	return value
}

// written returns what a function writes.
func written(t *testing.T, write func(io.Writer) error) string {
	t.Helper()
	var out bytes.Buffer
	if err := write(&out); err != nil {
		t.Fatal(err)
	}
	return out.String()
}

func checkText(t *testing.T, result policy.Result, format report.Format) string {
	t.Helper()
	return written(t, func(w io.Writer) error {
		return report.WriteCheck(w, result, format, report.Options{Evidence: reporttest.Evidence(profile.New())}, "1.0", reporttest.Saturday)
	})
}

// goldens returns JSON documents for each schema, with their names.
func goldens(t *testing.T) map[string]map[string]string {
	t.Helper()
	all := map[string]map[string]string{"profile": {}, "report": {}, "verify": {}, "diff": {}, "check": {}, "watch": {}, "alert": {}, "message": {}, "trial": {}}
	for name, p := range reporttest.Profiles() {
		file := written(t, func(w io.Writer) error { return profile.Encode(w, p) })
		if name != "hostile" { // its classes are not valid
			all["profile"][name] = file
			all["report"][name] = written(t, func(w io.Writer) error {
				return report.Write(w, io.Discard, p, report.JSON, report.Options{Evidence: reporttest.Evidence(p)})
			})
		}
	}
	for name, p := range map[string]profile.Proof{"proved": reporttest.Proof(), "not-proved": reporttest.Proof(func(p *profile.Proof) { p.Works = false })} {
		all["verify"][name] = written(t, func(w io.Writer) error {
			return report.WriteProof(w, p, report.JSON, report.Options{Evidence: reporttest.Evidence(profile.New()).WithProof(p)})
		})
	}
	for name, sides := range reporttest.Comparisons() {
		if name != "hostile" {
			comparison, err := compare.Profiles(sides[0], sides[1], compare.Options{})
			if err != nil {
				t.Fatal(err)
			}
			all["diff"][name] = written(t, func(w io.Writer) error {
				return report.WriteComparison(w, comparison, report.JSON, report.Options{All: true, Before: reporttest.Evidence(sides[0]), Evidence: reporttest.Evidence(sides[1])})
			})
		}
	}
	for name, use := range reporttest.Uses() {
		all["watch"][name] = written(t, use.WriteJSON)
		text := written(t, alert.New("rule", alert.Critical, "summary", 3, use).WriteJSON)
		all["alert"][name], all["message"][name] = text, text
	}
	all["message"]["notice"] = written(t, func(w io.Writer) error {
		return printable.WriteJSON(w, sink.Message{Schema: 2, Severity: alert.Critical, Dropped: &alert.Dropped{Sink: "chat"}})
	})
	for name, rule := range map[string]string{"all": "answer: granted, except: [{capabilities: [CHOWN]}]", "executed": "executables: [/bin/ping]", "none": "capabilities: [BPF], containers: [none]"} {
		file, err := rules.Parse("rules.yaml", []byte("rules: [{name: a, "+rule+"}]"))
		if err != nil {
			t.Fatal(err)
		}
		for of, p := range reporttest.Profiles() {
			if of != "hostile" {
				all["trial"][name+" "+of] = written(t, func(w io.Writer) error { return printable.WriteJSON(w, rules.Test(file, p)) })
			}
		}
	}
	for name, result := range reporttest.Checks(t) {
		all["check"][name] = checkText(t, result, report.JSON)
	}
	return all
}

func TestOutputsMatchTheirSchemas(t *testing.T) {
	for schema, documents := range goldens(t) {
		compiled := compiled(t, schema)
		for name, text := range documents {
			if err := compiled.Validate(instance(t, text)); err != nil {
				t.Errorf("%s, %s: %v", schema, name, err)
			}
		}
	}
}

// The test changes the type of each value in each document, or adds an unknown field. The schemas must reject the
// result.
func TestSchemasRejectMistypedDocuments(t *testing.T) {
	for schema, documents := range goldens(t) {
		compiled, seen := compiled(t, schema), make(map[string]bool)
		for _, name := range slices.Sorted(maps.Keys(documents)) {
			text := documents[name]
			for _, place := range placesOf(instance(t, text), "") {
				kind := regexp.MustCompile(`/\d+`).ReplaceAllString(place, "/0")
				if seen[kind] { // already tested in another document or another element
					continue
				}
				seen[kind] = true
				for what, change := range map[string]func(any) (any, bool){
					"another type": retyped, "an unknown field": extended,
				} {
					changed, possible := edit(instance(t, text), place, change)
					if possible && !strings.Contains(place, "/labels") && compiled.Validate(changed) == nil {
						t.Errorf("%s, %s: the schema accepts %s at %s", schema, name, what, place)
					}
				}
			}
		}
	}
}

// placesOf returns the paths of all values, except for the third and later elements of a list.
func placesOf(value any, at string) []string {
	places := []string{at}
	switch value := value.(type) {
	case map[string]any:
		for key, element := range value {
			places = append(places, placesOf(element, at+"/"+key)...)
		}
	case []any:
		for i, element := range value {
			if i < 2 {
				places = append(places, placesOf(element, fmt.Sprint(at, "/", i))...)
			}
		}
	}
	return places
}

// edit changes the value at a path.
func edit(value any, place string, change func(any) (any, bool)) (any, bool) {
	if place == "" {
		return change(value)
	}
	key, rest, more := strings.Cut(place[1:], "/")
	if more {
		rest = "/" + rest
	}
	var possible bool
	switch value := value.(type) {
	case map[string]any:
		value[key], possible = edit(value[key], rest, change)
	case []any:
		var i int
		if _, err := fmt.Sscan(key, &i); err == nil {
			value[i], possible = edit(value[i], rest, change)
		}
	}
	return value, possible
}

func retyped(value any) (any, bool) {
	switch value.(type) {
	case string, nil:
		return json.Number("7"), true
	case json.Number, bool:
		return "text", true
	}
	return true, true
}

func extended(value any) (any, bool) {
	object, ok := value.(map[string]any)
	if ok {
		object["unknown"] = json.Number("1")
	}
	return value, ok
}

// policy.Parse accepts only what the schema allows. The schema allows only what policy.Parse accepts, as far as a
// schema can express it.
func TestPolicySchemaIsAsStrictAsTheParser(t *testing.T) {
	compiled := compiled(t, "policy")
	for text, valid := range map[string]bool{
		`{"version": 1, "rules": [{"name": "a", "deny": ["NET_RAW", "cap_chown", 41], "allow": [], "ignore-denied": true, "max-unused": 0}]}`:                            true,
		`{"version": 1, "unmatched": "fail", "rules": [{"name": "a", "match": {"image": ["nginx"], "label": ["a=b"]}, "except": {"service": ["x"]}, "complete": true}]}`: true,
		`{"version": 2, "rules": [{"name": "a", "complete": true}]}`:                                                                                                     false,
		`{"rules": [{"name": "a", "complete": true}]}`:                                                                                                                   false,
		`{"version": 1}`: false,
		`{"version": 1, "rules": [{"complete": true}]}`:                                         false,
		`{"version": 1, "rules": [{"name": "a", "complete": "yes"}]}`:                           false,
		`{"version": 1, "rules": [{"name": "a", "ignore-denied": ["NET_RAW"]}]}`:                false,
		`{"version": 1, "rules": [{"name": "a", "deny": "NET_RAW"}]}`:                           false,
		`{"version": 1, "rules": [{"name": "a", "deny": [64]}]}`:                                false,
		`{"version": 1, "rules": [{"name": "a", "deny": ["CHOWN"], "ignore-denied": "maybe"}]}`: false,
		`{"version": 1, "rules": [{"name": "a", "match": {"names": ["x"]}, "deny": []}]}`:       false,
		`{"version": 1, "rules": [{"name": "a", "match": {"image": "nginx"}, "deny": []}]}`:     false,
	} {
		if err := compiled.Validate(instance(t, text)); (err == nil) != valid {
			t.Errorf("%s: %v", text, err)
		}
		if _, err := policy.Parse("policy.yaml", []byte(text)); (err == nil) != valid {
			t.Errorf("the parser on %s: %v", text, err)
		}
	}
}

// rules.Parse accepts only what the schema allows. The schema allows only what rules.Parse accepts, as far as a schema
// can express it.
func TestRulesSchemaIsAsStrictAsTheParser(t *testing.T) {
	compiled := compiled(t, "rules")
	for rule, valid := range map[string]bool{
		`{"name": "a", "severity": "info", "capabilities": ["NET_RAW", "cap_chown", 41], "raw-socket": true, "answer": "granted", "classes": ["required"]}`:     true,
		`{"name": "a", "raw-socket": ["packet"], "nested-userns": false, "containers": ["a"], "images": ["b"], "labels": ["c"], "services": ["d"]}`:             true,
		`{"name": "a", "namespaces": ["a"], "executables": ["/b"], "alert": "every", "cool-down": "1h30m", "except": [{"images": ["c"], "raw-socket": false}]}`: true,
		`{"builtin": "drift", "profiles": ["a*"]}`:                             true,
		`{"builtin": "denials", "burst": {"uses": 5, "within": "1.5s"}}`:       true,
		`{"name": "a", "severity": "high", "answer": "granted"}`:               false,
		`{"name": "a", "capabilities": "NET_RAW"}`:                             false,
		`{"name": "a", "capabilities": []}`:                                    false,
		`{"name": "a", "capabilities": [64]}`:                                  false,
		`{"name": "a", "raw-socket": ["ipv4"]}`:                                false,
		`{"name": "a", "raw-socket": "yes"}`:                                   false,
		`{"name": "a", "answer": "refused"}`:                                   false,
		`{"name": "a", "classes": ["needed"]}`:                                 false,
		`{"name": "a", "nested-userns": "no"}`:                                 false,
		`{"name": "a", "image": ["b"]}`:                                        false,
		`{"name": "a", "images": "b"}`:                                         false,
		`{"name": "a", "answer": "granted", "alert": "once"}`:                  false,
		`{"name": "a", "answer": "granted", "cool-down": "10"}`:                false,
		`{"name": "a", "answer": "granted", "cool-down": 10}`:                  false,
		`{"name": "a", "answer": "granted", "burst": {"uses": 5}}`:             false,
		`{"name": "a", "answer": "granted", "burst": {"uses": 5, "in": "1s"}}`: false,
		`{"name": "a", "answer": "granted", "except": {"images": ["b"]}}`:      false,
		`{"name": "a", "answer": "granted", "except": [{"name": "b"}]}`:        false,
	} {
		text := `{"rules": [` + rule + `], "sinks": {"any": ["thing"]}}`
		if err := compiled.Validate(instance(t, text)); (err == nil) != valid {
			t.Errorf("schema: %s: %v", rule, err)
		}
		if _, err := rules.Parse("r", []byte(text)); (err == nil) != valid {
			t.Errorf("parser: %s: %v", rule, err)
		}
	}
	for text, valid := range map[string]bool{rules.BuiltinText: true, "rules: []": false, "sinks: {}": false, "rule: []": false} {
		value, err := yaml.YAMLToJSON([]byte(text))
		if err != nil {
			t.Fatal(err)
		}
		if err := compiled.Validate(instance(t, string(value))); (err == nil) != valid {
			t.Errorf("schema: %s: %v", text, err)
		}
	}
}

// The schema allows only what waiver.Parse accepts, as far as a schema can express it: it does not require container or
// image.
func TestWaiversSchemaIsAsStrictAsTheParser(t *testing.T) {
	compiled := compiled(t, "waivers")
	for text, valid := range map[string]bool{
		`{"container": "ci-*", "image": "runner", "capabilities": ["NET_RAW", "cap_chown", "41"], "reason": "a", "owner": "b", "expires": "2027-03-31"}`: true,
		`{"container": "ci-*", "capabilities": ["ALL"], "reason": "a", "owner": "b", "expires": "2027-03-31"}`:                                           true,
		`{"container": "ci-*", "capabilities": ["ALL"], "reason": "a", "owner": "b"}`:                                                                    false,
		`{"container": "ci-*", "capabilities": ["ALL"], "reason": "a", "expires": "2027-03-31"}`:                                                         false,
		`{"container": "ci-*", "capabilities": ["ALL"], "owner": "b", "expires": "2027-03-31"}`:                                                          false,
		`{"container": "ci-*", "reason": "a", "owner": "b", "expires": "2027-03-31"}`:                                                                    false,
		`{"container": "ci-*", "capabilities": [], "reason": "a", "owner": "b", "expires": "2027-03-31"}`:                                                false,
		`{"container": "ci-*", "capabilities": [{}], "reason": "a", "owner": "b", "expires": "2027-03-31"}`:                                              false,
		`{"container": "ci-*", "capabilities": "ALL", "reason": "a", "owner": "b", "expires": "2027-03-31"}`:                                             false,
		`{"container": "", "capabilities": ["ALL"], "reason": "a", "owner": "b", "expires": "2027-03-31"}`:                                               false,
		`{"container": ["ci-*"], "capabilities": ["ALL"], "reason": "a", "owner": "b", "expires": "2027-03-31"}`:                                         false,
		`{"container": "ci-*", "capabilities": ["ALL"], "reason": "", "owner": "b", "expires": "2027-03-31"}`:                                            false,
		`{"container": "ci-*", "capabilities": ["ALL"], "reason": "a", "owner": "b", "expires": "2027-02-29"}`:                                           false,
		`{"container": "ci-*", "capabilities": ["ALL"], "reason": "a", "owner": "b", "expires": "soon"}`:                                                 false,
		`{"container": "ci-*", "capabilities": ["ALL"], "reason": "a", "owner": "b", "expires": "2027-03-31", "line": 2}`:                                false,
	} {
		text = `{"waivers": [` + text + `]}`
		if err := compiled.Validate(instance(t, text)); (err == nil) != valid {
			t.Errorf("%s: %v", text, err)
		}
		if _, err := waiver.Parse("w", []byte(text)); (err == nil) != valid {
			t.Errorf("the parser on %s: %v", text, err)
		}
	}
	example, err := os.ReadFile("../../../examples/ci/waivers.yaml")
	if err != nil {
		t.Fatal(err)
	}
	value, err := yaml.YAMLToJSON(example)
	if err != nil {
		t.Fatal(err)
	}
	if err := compiled.Validate(instance(t, string(value))); err != nil {
		t.Error(err)
	}
}

package sink

import (
	"errors"
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/docker/go-units"
	"github.com/goccy/go-yaml"
	"github.com/goccy/go-yaml/ast"
	"golang.org/x/net/http/httpguts"

	"github.com/capmon/capmon/internal/alert"
	"github.com/capmon/capmon/internal/strictyaml"
)

const (
	defaultMaxSize = 64 << 20
	leastMaxSize   = 1 << 20 // some hundred alerts
)

// Settings are those of every sink.
type Settings struct {
	Name        string         `yaml:"name,omitempty"`
	Type        string         `yaml:"type,omitempty"`
	MinSeverity alert.Severity `yaml:"min-severity,omitempty"`
}

// named is what names may be: they are directories in the spool.
var named = regexp.MustCompile(`^[a-z0-9][a-z0-9._-]{0,62}$`)

// Duration is a time that is written as 10s, 5m or 1h30m.
type Duration time.Duration

// UnmarshalYAML reads a time above zero.
func (d *Duration) UnmarshalYAML(node ast.Node) error {
	text := node.GetToken().Value
	length, err := time.ParseDuration(text)
	if err != nil || length <= 0 {
		return strictyaml.At(node, "%q is no time above zero, such as 10s or 5m", text)
	}
	*d = Duration(length)
	return nil
}

// Parse reads the list of sinks of a file, strictly. Errors are strictyaml's, with their lines. The
// files that sinks name are not read: Open reads them.
func Parse(node ast.Node) ([]Config, error) {
	list, ok := node.(*ast.SequenceNode)
	if !ok || len(list.Values) == 0 {
		return nil, strictyaml.At(node, "a list of sinks is wanted, each with its type: %s", typeNames())
	}
	var configs []Config
	known, listening := make(map[string]bool), make(map[string]bool)
	for _, element := range list.Values {
		config, err := parseSink(element)
		if err != nil {
			return nil, err
		}
		if known[config.Name] {
			return nil, at(element, "name", "there are two sinks with the name %q: give each one of its own", config.Name)
		}
		known[config.Name] = true
		if p, ok := config.To.(Prometheus); ok {
			if listening[p.Listen] {
				return nil, at(element, "listen", "two sinks listen at %q: one is enough", p.Listen)
			}
			listening[p.Listen] = true
		}
		configs = append(configs, config)
	}
	return configs, nil
}

// types are how sinks of each type are read.
func types() map[string]func(ast.Node) (Settings, Destination, error) {
	return map[string]func(ast.Node) (Settings, Destination, error){
		"log":        parseLog,
		"webhook":    parseWebhook,
		"syslog":     parseSyslog,
		"journald":   parseJournald,
		"prometheus": parsePrometheus,
	}
}

func typeNames() string { return strings.Join(slices.Sorted(maps.Keys(types())), ", ") }

func parseSink(node ast.Node) (Config, error) {
	var only struct {
		Type string `yaml:"type"`
	}
	switch node.(type) {
	case *ast.MappingNode, *ast.MappingValueNode:
	default:
		return Config{}, strictyaml.At(node, "a sink is wanted, with its type: %s", typeNames())
	}
	if err := yaml.NodeToValue(node, &only); err != nil {
		return Config{}, err
	}
	if only.Type == "" {
		return Config{}, at(node, "", "this sink has no type: choose one of %s", typeNames())
	}
	parse, ok := types()[only.Type]
	if !ok {
		return Config{}, at(node, "type", "there is no type %q: choose one of %s", only.Type, typeNames())
	}
	common, to, err := parse(node)
	if err != nil {
		return Config{}, err
	}
	config := Config{Name: common.Name, MinSeverity: common.MinSeverity, To: to}
	if config.Name == "" {
		config.Name = common.Type
	}
	if !named.MatchString(config.Name) {
		return Config{}, at(node, "name", "the name %q has other characters than a-z, 0-9, '.', '_' and '-', or is too long", config.Name)
	}
	if common.MinSeverity != "" {
		if _, err := alert.ParseSeverity(string(common.MinSeverity)); err != nil {
			return Config{}, at(node, "min-severity", "%v", err)
		}
	}
	return config, nil
}

// at is an error at a key of a sink, or at its beginning.
func at(sink ast.Node, key, format string, args ...any) error {
	here := strictyaml.FirstKey(sink)
	if key != "" {
		if found := strictyaml.Position(sink, "$."+key); found != sink {
			here = found
		}
	}
	return strictyaml.At(here, format, args...)
}

func parseLog(node ast.Node) (Settings, Destination, error) {
	var file struct {
		Settings `yaml:",inline"`
		Log      `yaml:",inline"`
	}
	err := strictyaml.Decode(node, &file)
	return file.Settings, file.Log, err
}

func parseJournald(node ast.Node) (Settings, Destination, error) {
	var file Settings
	err := strictyaml.Decode(node, &file)
	return file, Journald{}, err
}

func parsePrometheus(node ast.Node) (Settings, Destination, error) {
	var file struct {
		Settings   `yaml:",inline"`
		Prometheus `yaml:",inline"`
	}
	err := strictyaml.Decode(node, &file)
	if err == nil {
		if fault := file.check(); fault != nil {
			err = at(node, "listen", "listen: %v", fault)
		}
	}
	return file.Settings, file.Prometheus, err
}

func parseSyslog(node ast.Node) (Settings, Destination, error) {
	var file struct {
		Settings `yaml:",inline"`
		Syslog   `yaml:",inline"`
	}
	err := strictyaml.Decode(node, &file)
	if err != nil {
		return file.Settings, nil, err
	}
	if fault := file.check(); fault != nil {
		return file.Settings, nil, at(node, "address", "address: %v", fault)
	}
	if _, ok := facilities()[file.Facility]; !ok && file.Facility != "" {
		return file.Settings, nil, at(node, "facility", "there is no facility %q: choose one of %s", file.Facility, strings.Join(slices.Sorted(maps.Keys(facilities())), ", "))
	}
	return file.Settings, file.Syslog, nil
}

func parseWebhook(node ast.Node) (Settings, Destination, error) {
	var file struct {
		Settings `yaml:",inline"`
		Webhook  `yaml:",inline"`
	}
	if err := strictyaml.Decode(node, &file); err != nil {
		return file.Settings, nil, err
	}
	key, err := file.check()
	if err != nil {
		return file.Settings, nil, at(node, key, "%v", err)
	}
	return file.Settings, file.Webhook, nil
}

// check finds what is wrong, and at which key.
func (w Webhook) check() (key string, err error) {
	switch {
	case w.URL == "" && w.URLFile == "":
		return "", errors.New("a webhook has a url, or a url-file that has it")
	case w.URL != "" && w.URLFile != "":
		return "url-file", errors.New("give url or url-file, not both")
	case w.URL != "" && checkURL(w.URL) != nil:
		return "url", fmt.Errorf("url: %w", checkURL(w.URL))
	case !slices.Contains([]Preset{Plain, Slack, Alertmanager}, w.Preset):
		return "preset", fmt.Errorf("there is no preset %q: choose %s or %s, or leave it out", w.Preset, Slack, Alertmanager)
	case w.Preset != Plain && w.Template != "":
		return "template", errors.New("give a preset or a template, not both")
	case w.ResolveAfter != 0 && w.Preset != Alertmanager:
		return "resolve-after", errors.New("resolve-after goes with preset: alertmanager")
	}
	if err := w.checkHeaders(); err != nil {
		return "headers", err
	}
	if _, err := w.makeBody(); err != nil {
		return "template", fmt.Errorf("template: %w", err)
	}
	return "", nil
}

func (w Webhook) checkHeaders() error {
	known := make(map[string]bool)
	for _, name := range slices.Concat(slices.Sorted(maps.Keys(w.Headers)), slices.Sorted(maps.Keys(w.HeaderFiles))) {
		switch lower := strings.ToLower(name); {
		case !httpguts.ValidHeaderFieldName(name):
			return fmt.Errorf("headers: %q is no name of a header", name)
		case known[lower]:
			return fmt.Errorf("headers: %s is there twice", name)
		case slices.Contains([]string{"content-length", "transfer-encoding", "connection", "trailer"}, lower):
			return fmt.Errorf("headers: %s is not to be chosen", name)
		case !httpguts.ValidHeaderFieldValue(w.Headers[name]):
			return fmt.Errorf("headers: the value of %s has characters that no header may have", name)
		default:
			known[lower] = true
		}
	}
	return nil
}

// ParseSpool reads where alerts wait; without a node it is in memory.
func ParseSpool(node ast.Node) (Spool, error) {
	spool := Spool{MaxSize: defaultMaxSize}
	if node == nil {
		return spool, nil
	}
	var file struct {
		Directory string `yaml:"directory,omitempty"`
		MaxSize   string `yaml:"max-size,omitempty"`
	}
	if err := strictyaml.Decode(node, &file); err != nil {
		return Spool{}, err
	}
	spool.Directory = file.Directory
	if file.MaxSize == "" {
		return spool, nil
	}
	size, err := units.RAMInBytes(file.MaxSize)
	if err != nil {
		return Spool{}, at(node, "max-size", "max-size: %q is no size such as 64MiB", file.MaxSize)
	}
	if size < leastMaxSize {
		return Spool{}, at(node, "max-size", "max-size: %s is too little for a flood: give 1MiB or more", file.MaxSize)
	}
	spool.MaxSize = size
	return spool, nil
}

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
	minMaxSize     = 1 << 20 // space for several hundred alerts
)

// Settings are the keys that every sink has.
type Settings struct {
	Name        string         `yaml:"name,omitempty"`
	Type        string         `yaml:"type,omitempty"`
	MinSeverity alert.Severity `yaml:"min-severity,omitempty"`
}

// validName matches valid names of sinks. Names are also names of directories in the spool.
var validName = regexp.MustCompile(`^[a-z0-9][a-z0-9._-]{0,62}$`)

// Duration is a duration with a unit in YAML, such as 10s, 5m or 1h30m.
type Duration time.Duration

// UnmarshalYAML reads a positive duration.
func (d *Duration) UnmarshalYAML(node ast.Node) error {
	text := node.GetToken().Value
	length, err := time.ParseDuration(text)
	if err != nil || length <= 0 {
		return strictyaml.ErrorAt(node, "%q is not a positive duration such as 10s or 5m", text)
	}
	*d = Duration(length)
	return nil
}

// Parse reads the list of sinks of a file. Unknown keys and invalid values are errors of package strictyaml, with
// their lines. Parse does not read the files that sinks name. [Open] reads them.
func Parse(node ast.Node) ([]Config, error) {
	list, ok := node.(*ast.SequenceNode)
	if !ok || len(list.Values) == 0 {
		return nil, strictyaml.ErrorAt(node, "sinks must be a list of sinks, each with a type: %s", typeNames())
	}
	var configs []Config
	known, listening := make(map[string]bool), make(map[string]bool)
	for _, element := range list.Values {
		config, err := parseSink(element)
		if err != nil {
			return nil, err
		}
		if known[config.Name] {
			return nil, at(element, "name", "two sinks have the name %q: names must be unique", config.Name)
		}
		known[config.Name] = true
		if p, ok := config.To.(Prometheus); ok {
			if listening[p.Listen] {
				return nil, at(element, "listen", "two sinks listen at %q: remove one of them", p.Listen)
			}
			listening[p.Listen] = true
		}
		configs = append(configs, config)
	}
	return configs, nil
}

// types maps the type of a sink to its parser.
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
		return Config{}, strictyaml.ErrorAt(node, "a sink must be a mapping with a type: %s", typeNames())
	}
	if err := yaml.NodeToValue(node, &only); err != nil {
		return Config{}, err
	}
	if only.Type == "" {
		return Config{}, at(node, "", "this sink has no type: choose one of %s", typeNames())
	}
	parse, ok := types()[only.Type]
	if !ok {
		return Config{}, at(node, "type", "unknown type %q: choose one of %s", only.Type, typeNames())
	}
	common, to, err := parse(node)
	if err != nil {
		return Config{}, err
	}
	config := Config{Name: common.Name, MinSeverity: common.MinSeverity, To: to}
	if config.Name == "" {
		config.Name = common.Type
	}
	if !validName.MatchString(config.Name) {
		return Config{}, at(node, "name", "invalid name %q: use at most 63 of the characters a-z, 0-9, '.', '_' and '-', and begin with a letter or digit", config.Name)
	}
	if common.MinSeverity != "" {
		if _, err := alert.ParseSeverity(string(common.MinSeverity)); err != nil {
			return Config{}, at(node, "min-severity", "%v", err)
		}
	}
	return config, nil
}

// at returns an error at a key of a sink, or at its first line if the sink does not have the key.
func at(sink ast.Node, key, format string, args ...any) error {
	here := strictyaml.FirstKey(sink)
	if key != "" {
		if found := strictyaml.NodeAt(sink, "$."+key); found != sink {
			here = found
		}
	}
	return strictyaml.ErrorAt(here, format, args...)
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
		return file.Settings, nil, at(node, "facility", "unknown facility %q: choose one of %s", file.Facility, strings.Join(slices.Sorted(maps.Keys(facilities())), ", "))
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

// check validates a webhook. It returns the key that the error is about; "" for none.
func (w Webhook) check() (key string, err error) {
	switch {
	case w.URL == "" && w.URLFile == "":
		return "", errors.New("a webhook requires url or url-file")
	case w.URL != "" && w.URLFile != "":
		return "url-file", errors.New("set either url or url-file, not both")
	case w.URL != "" && checkURL(w.URL) != nil:
		return "url", fmt.Errorf("url: %w", checkURL(w.URL))
	case !slices.Contains([]Preset{Plain, Slack, Alertmanager}, w.Preset):
		return "preset", fmt.Errorf("unknown preset %q: choose %s or %s, or leave it out", w.Preset, Slack, Alertmanager)
	case w.Preset != Plain && w.Template != "":
		return "template", errors.New("set either preset or template, not both")
	case w.ResolveAfter != 0 && w.Preset != Alertmanager:
		return "resolve-after", errors.New("resolve-after requires preset: alertmanager")
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
			return fmt.Errorf("headers: invalid header name %q", name)
		case known[lower]:
			return fmt.Errorf("headers: %s is set twice", name)
		case slices.Contains([]string{"content-length", "transfer-encoding", "connection", "trailer"}, lower):
			return fmt.Errorf("headers: %s is reserved for the HTTP client: remove it", name)
		case !httpguts.ValidHeaderFieldValue(w.Headers[name]):
			return fmt.Errorf("headers: the value of %s has characters that are not allowed in headers", name)
		default:
			known[lower] = true
		}
	}
	return nil
}

// ParseSpool reads the configuration of the spool. Without a node, the spool is in memory.
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
		return Spool{}, at(node, "max-size", "max-size: %q is not a size such as 64MiB", file.MaxSize)
	}
	if size < minMaxSize {
		return Spool{}, at(node, "max-size", "max-size: %s is too small: set at least 1MiB", file.MaxSize)
	}
	spool.MaxSize = size
	return spool, nil
}

package dockerrun

import (
	"fmt"
	"regexp"
	"slices"
	"strings"

	engine "github.com/capmon/capmon/internal/container"
)

// placeholder replaces a value that is left out.
const placeholder = engine.Redacted

// redaction leaves values out of the commands and records which. The zero value leaves them out.
type redaction struct {
	off bool
	// variables are the names of the environment variables without values. others are descriptions of the other
	// values that placeholder replaces.
	variables, others []string
}

// publicValues match values that are only a size, a number or a switch, by option.
var publicValues = map[string]*regexp.Regexp{
	"--log-opt":     regexp.MustCompile(`^(max-size|max-file|compress|mode|max-buffer-size)=(\d{1,10}[a-z]{0,2}|true|false|blocking|non-blocking)$`),
	"--storage-opt": regexp.MustCompile(`^size=\d{1,12}[a-zA-Z]{0,2}$`),
	"--sysctl":      regexp.MustCompile(`^[^=]*=[0-9 \t-]*$`),
}

// value returns the value to print. option is the option that the value belongs to. key is the name of the value in the
// option, "" if it has none.
func (r *redaction) value(option, key, value string) string {
	if shape := publicValues[option]; r.off || value == "" || shape != nil && shape.MatchString(key+"="+value) {
		return value
	}
	r.redact(strings.TrimSpace(option + " " + key))
	return placeholder
}

// variable returns an environment variable as a value of --env. With the name alone, docker reads the value from its
// own environment.
func (r *redaction) variable(name, variable string) string {
	if r.off {
		return variable
	}
	r.variables = append(r.variables, name)
	return name
}

// programArguments describes the words after the image.
const programArguments = "all arguments after the image"

// arguments returns the arguments of the program. Any of them may be secret.
func (r *redaction) arguments(words []string) []string {
	return r.words(programArguments, words)
}

func (r *redaction) words(of string, words []string) []string {
	if r.off || len(words) == 0 {
		return words
	}
	r.redact(of)
	return []string{placeholder}
}

// credentials matches the user and the password in a URL.
var credentials = regexp.MustCompile(`(://)[^/?#\s]*@`)

// WithoutCredentials replaces the user and the password of each URL in a value by ….
func WithoutCredentials(value string) string {
	return credentials.ReplaceAllString(value, "${1}"+placeholder+"@")
}

// withoutPassword removes the credentials from the URLs in a value.
func (r *redaction) withoutPassword(option, value string) string {
	if r.off || !credentials.MatchString(value) {
		return value
	}
	r.redact("the password in " + option)
	return WithoutCredentials(value)
}

func (r *redaction) redact(what string) {
	if !slices.Contains(r.others, what) {
		r.others = append(r.others, what)
	}
}

// describeRedaction describes what was left out, and how to complete the commands.
func (b *builder) describeRedaction() {
	if len(b.variables) > 0 {
		b.result.Withheld = append(b.result.Withheld, fmt.Sprintf("export %s (docker reads the values from the environment)", strings.Join(b.variables, ", ")))
	}
	values := slices.DeleteFunc(slices.Clone(b.others), func(what string) bool { return what == programArguments })
	if len(values) > 0 {
		b.result.Withheld = append(b.result.Withheld, fmt.Sprintf("replace each %s with its value: %s", placeholder, strings.Join(values, ", ")))
	}
	if len(values) < len(b.others) {
		b.result.Withheld = append(b.result.Withheld, fmt.Sprintf("replace '%s', with the quotes, with %s", placeholder, programArguments))
	}
}

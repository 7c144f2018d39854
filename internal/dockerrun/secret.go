package dockerrun

import (
	"fmt"
	"regexp"
	"slices"
	"strings"

	engine "github.com/capmon/capmon/internal/container"
)

// leftOut stands in place of a value that is withheld.
const leftOut = engine.Redacted

// withholding notes which values are left out of the commands. The zero value withholds.
type withholding struct {
	off bool
	// variables are the names of the environment variables without their values, others what
	// else has leftOut in its place.
	variables, others []string
}

// harmless are the values that tell nothing but a size, a number or a switch, by their options.
var harmless = map[string]*regexp.Regexp{
	"--log-opt":     regexp.MustCompile(`^(max-size|max-file|compress|mode|max-buffer-size)=(\d{1,10}[a-z]{0,2}|true|false|blocking|non-blocking)$`),
	"--storage-opt": regexp.MustCompile(`^size=\d{1,12}[a-zA-Z]{0,2}$`),
	"--sysctl":      regexp.MustCompile(`^[^=]*=[0-9 \t-]*$`),
}

// value is a value as it is printed. option is what it belongs to, key its name in that, "" if
// it has none.
func (w *withholding) value(option, key, value string) string {
	if shape := harmless[option]; w.off || value == "" || shape != nil && shape.MatchString(key+"="+value) {
		return value
	}
	w.leaveOut(strings.TrimSpace(option + " " + key))
	return leftOut
}

// variable is an environment variable as --env takes it: by its name alone, docker takes the
// value from its own environment.
func (w *withholding) variable(name, variable string) string {
	if w.off {
		return variable
	}
	w.variables = append(w.variables, name)
	return name
}

// arguments are those of the program, of which any may be secret.
func (w *withholding) arguments(words []string) []string {
	return w.words("the arguments behind the image", words)
}

func (w *withholding) words(of string, words []string) []string {
	if w.off || len(words) == 0 {
		return words
	}
	w.leaveOut(of)
	return []string{leftOut}
}

// credentials are the user and the password of a URL.
var credentials = regexp.MustCompile(`(://)[^/?#\s]*@`)

// WithoutCredentials is a value with … in place of the user and the password of each URL in it.
func WithoutCredentials(value string) string {
	return credentials.ReplaceAllString(value, "${1}"+leftOut+"@")
}

// withoutPassword leaves the credentials out of the URLs in a value.
func (w *withholding) withoutPassword(option, value string) string {
	if w.off || !credentials.MatchString(value) {
		return value
	}
	w.leaveOut("the password in " + option)
	return WithoutCredentials(value)
}

func (w *withholding) leaveOut(what string) {
	if !slices.Contains(w.others, what) {
		w.others = append(w.others, what)
	}
}

// withheld says what was left out, and what to do about it.
func (b *builder) withheld() {
	var parts []string
	if len(b.variables) > 0 {
		parts = append(parts, fmt.Sprintf("docker takes the values of %s from the environment of the shell that runs it, so export them there before",
			strings.Join(b.variables, ", ")))
	}
	if len(b.others) > 0 {
		parts = append(parts, fmt.Sprintf("put the values in place of each %s: %s", leftOut, strings.Join(b.others, ", ")))
	}
	if len(parts) == 0 {
		return
	}
	b.result.Withheld = "values that may be secret (capmon audit --with-values prints them): " + strings.Join(parts, "; ")
	b.result.Untranslated = append(b.result.Untranslated, b.result.Withheld)
}

package main

import (
	"io"
	"os"
	"strings"
	"time"

	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"

	"github.com/capmon/capmon/internal/printable"
)

// prefix is the prefix of messages to users, unless they are JSON.
const prefix = "capmon: "

// notices writes messages to users on stderr: lines of text or, with --log-format json, JSON in the format of the log.
// Each Write must contain whole lines.
type notices struct{ logging *logging }

func (n notices) Write(text []byte) (int, error) {
	if !n.logging.json() {
		return n.logging.stderr.Write(text)
	}
	for line := range strings.Lines(string(text)) {
		if err := n.writeJSON(zapcore.InfoLevel, strings.TrimPrefix(strings.TrimSuffix(line, "\n"), prefix)); err != nil {
			return 0, err
		}
	}
	return len(text), nil
}

// printError prints the error that ends capmon.
func (n notices) printError(text string) {
	if n.logging.json() {
		_ = n.writeJSON(zapcore.ErrorLevel, text)
		return
	}
	_, _ = io.WriteString(n.logging.stderr, prefixed(printable.Lines(text)))
}

// prefixed returns the lines of a text, each with the prefix and a line feed.
func prefixed(text string) string { return prefix + strings.ReplaceAll(text, "\n", "\n"+prefix) + "\n" }

// onTerminal reports whether notices go to a terminal.
func onTerminal(out io.Writer) bool {
	n, ok := out.(notices)
	return ok && !n.logging.json() && isTerminal(os.Stderr)
}

// statusLineOf returns the status line of the terminal that notices go to; nil if capmon cannot overwrite a line there.
func statusLineOf(out io.Writer) *statusLine {
	if !onTerminal(out) || dumb() {
		return nil
	}
	return out.(notices).logging.stderr
}

func (n notices) writeJSON(level zapcore.Level, text string) error {
	line, err := zapcore.NewJSONEncoder(zap.NewProductionEncoderConfig()).EncodeEntry(zapcore.Entry{Level: level, Time: time.Now(), Message: text}, nil)
	if err != nil {
		return err
	}
	defer line.Free()
	_, err = printable.Writer(n.logging.stderr).Write(line.Bytes())
	return err
}

// wantsJSON reports whether the arguments contain --log-format json. The flag parser does not reach the flag if an
// earlier argument is wrong.
func wantsJSON(args []string) (json bool) {
	for i, arg := range args {
		if arg == "--" {
			break
		}
		format, given := strings.CutPrefix(arg, "--log-format=")
		if arg == "--log-format" && i+1 < len(args) {
			format, given = args[i+1], true
		}
		if given {
			json = strings.EqualFold(format, "json")
		}
	}
	return json
}

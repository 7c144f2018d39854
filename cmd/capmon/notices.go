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

// prefix is how messages for users begin, unless they are JSON.
const prefix = "capmon: "

// notices is stderr for messages to users: lines of text or, with --log-format json, of JSON, as
// the log has them. Each Write has whole lines.
type notices struct{ logging *logging }

func (n notices) Write(text []byte) (int, error) {
	if !n.logging.json() {
		return os.Stderr.Write(text)
	}
	for line := range strings.Lines(string(text)) {
		if err := writeNotice(zapcore.InfoLevel, strings.TrimPrefix(strings.TrimSuffix(line, "\n"), prefix)); err != nil {
			return 0, err
		}
	}
	return len(text), nil
}

// complain prints why capmon ends.
func (n notices) complain(text string) {
	if n.logging.json() {
		_ = writeNotice(zapcore.ErrorLevel, text)
		return
	}
	_, _ = io.WriteString(os.Stderr, prefix+printable.Lines(text)+"\n")
}

// onTerminal reports whether notices are read on a terminal, where a line can be written over.
func onTerminal(out io.Writer) bool {
	n, ok := out.(notices)
	return ok && !n.logging.json() && isTerminal(os.Stderr)
}

func writeNotice(level zapcore.Level, text string) error {
	line, err := zapcore.NewJSONEncoder(zap.NewProductionEncoderConfig()).EncodeEntry(zapcore.Entry{Level: level, Time: time.Now(), Message: text}, nil)
	if err != nil {
		return err
	}
	defer line.Free()
	_, err = printable.Writer(os.Stderr).Write(line.Bytes())
	return err
}

// wantsJSON looks for --log-format json in arguments: if one before it is wrong, the flag is not read.
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

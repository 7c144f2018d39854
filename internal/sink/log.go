package sink

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"os"

	"go.uber.org/zap"
	"go.uber.org/zap/buffer"
	"go.uber.org/zap/zapcore"
	"golang.org/x/sys/unix"

	"github.com/capmon/capmon/internal/alert"
)

// Log writes alerts as lines of JSON, as zap writes logs.
type Log struct {
	// Path of the file, to which is appended; "" for stderr.
	Path string `yaml:"path,omitempty"`
}

type logFile struct {
	Log
	encoder zapcore.Encoder
}

func (l Log) open() (transport, error) {
	config := zap.NewProductionEncoderConfig()
	config.EncodeTime = zapcore.RFC3339NanoTimeEncoder
	file := &logFile{l, zapcore.NewJSONEncoder(config)}
	if l.Path == "" {
		return file, nil
	}
	out, err := file.openFile()
	if err != nil {
		return nil, err
	}
	return file, out.Close()
}

func (l Log) resolved() (Destination, error) { return l, nil }

// openFile opens it for each batch: it may have been renamed, as logrotate does.
func (l *logFile) openFile() (*os.File, error) {
	return os.OpenFile(l.Path, os.O_CREATE|os.O_APPEND|os.O_RDWR, 0o640)
}

func (l *logFile) most() int    { return manyMessages }
func (l *logFile) close() error { return nil }

func (l *logFile) send(_ context.Context, messages []Message) error {
	lines, err := l.lines(messages)
	if err != nil {
		return refused("no log line can be made of it: %v", err)
	}
	if l.Path == "" {
		_, err := os.Stderr.Write(lines)
		return err
	}
	out, err := l.openFile()
	if err != nil {
		return err
	}
	if torn(out) {
		lines = append([]byte("\n"), lines...)
	}
	_, err = out.Write(lines)
	if err == nil {
		err = syncFile(out)
	}
	return errors.Join(err, out.Close())
}

// torn reports whether a line was begun and not ended, as when a disk is full.
func torn(file *os.File) bool {
	end, err := file.Seek(0, io.SeekEnd)
	if err != nil || end == 0 {
		return false
	}
	last := make([]byte, 1)
	_, err = file.ReadAt(last, end-1)
	return err == nil && last[0] != '\n'
}

// syncFile is for files that can be: pipes and terminals have nothing to sync.
func syncFile(file *os.File) error {
	err := file.Sync()
	if errors.Is(err, unix.EINVAL) || errors.Is(err, unix.ENOTSUP) {
		return nil
	}
	return err
}

func (l *logFile) lines(messages []Message) ([]byte, error) {
	var lines []byte
	for _, m := range messages {
		entry := zapcore.Entry{Level: logLevel(m.Severity), Time: m.Time, Message: m.Summary}
		var line *buffer.Buffer
		line, err := l.encoder.EncodeEntry(entry, []zapcore.Field{zap.Any("alert", json.RawMessage(m.encode()))})
		if err != nil {
			return nil, err
		}
		lines = append(lines, line.Bytes()...)
		line.Free()
	}
	return lines, nil
}

func logLevel(severity alert.Severity) zapcore.Level {
	switch severity {
	case alert.Critical:
		return zapcore.ErrorLevel
	case alert.Warning:
		return zapcore.WarnLevel
	}
	return zapcore.InfoLevel
}

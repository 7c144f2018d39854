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

// Log is a destination that writes alerts as lines of JSON, in the format of zap's logs.
type Log struct {
	// Path of the file that lines are appended to; "" for stderr.
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

// openFile opens the file. It is opened for each batch, because logrotate can rename it between two batches.
func (l *logFile) openFile() (*os.File, error) {
	return os.OpenFile(l.Path, os.O_CREATE|os.O_APPEND|os.O_RDWR, 0o640)
}

func (l *logFile) maxBatch() int { return batchSize }
func (l *logFile) close() error  { return nil }

func (l *logFile) send(_ context.Context, messages []Message) error {
	lines, err := l.lines(messages)
	if err != nil {
		return rejectionf("encoding the log line: %v", err)
	}
	if l.Path == "" {
		_, err := os.Stderr.Write(lines)
		return err
	}
	out, err := l.openFile()
	if err != nil {
		return err
	}
	if incomplete(out) {
		lines = append([]byte("\n"), lines...)
	}
	_, err = out.Write(lines)
	if err == nil {
		err = syncFile(out)
	}
	return errors.Join(err, out.Close())
}

// incomplete reports whether the last line has no line feed, for example because the disk was full.
func incomplete(file *os.File) bool {
	end, err := file.Seek(0, io.SeekEnd)
	if err != nil || end == 0 {
		return false
	}
	last := make([]byte, 1)
	_, err = file.ReadAt(last, end-1)
	return err == nil && last[0] != '\n'
}

// syncFile syncs a file. Pipes and terminals cannot be synced, which is not an error.
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

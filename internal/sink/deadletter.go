package sink

import (
	"encoding/json"
	"errors"
	"os"
	"time"
)

// errRefusedFull: what was refused is not kept.
var errRefusedFull = errors.New("the file with what was refused is full")

// deadLetters is a file with messages that a receiver has refused, one in a line with the
// reason.
type deadLetters struct {
	path    string // "": there is none
	maxSize int64
}

// add returns where the message is kept.
func (d deadLetters) add(reason string, message []byte) (string, error) {
	if d.path == "" {
		return "", nil
	}
	line, err := marshal(struct {
		Time    time.Time       `json:"time"`
		Reason  string          `json:"reason"`
		Message json.RawMessage `json:"message"`
	}{time.Now(), reason, valid(message)})
	if err != nil {
		return "", err
	}
	out, err := os.OpenFile(d.path, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return "", err
	}
	info, err := out.Stat()
	if err == nil && info.Size()+int64(len(line)) > d.maxSize {
		err = errRefusedFull
	}
	if err == nil {
		_, err = out.Write(append(line, '\n'))
	}
	if err == nil {
		err = out.Sync()
	}
	return d.path, errors.Join(err, out.Close())
}

// valid is a message, or what stands for one, as JSON.
func valid(message []byte) json.RawMessage {
	if json.Valid(message) {
		return message
	}
	text, _ := json.Marshal(string(message)) // a string: it does not fail
	return text
}

package sink

import (
	"encoding/json"
	"errors"
	"os"
	"time"
)

// rejectedFile is the name of the file of rejected messages in a sink's directory of the spool.
const rejectedFile = "rejected.json"

// errRejectedFull is returned if a rejected message does not fit in the file, and so is not saved.
var errRejectedFull = errors.New("the file of rejected alerts has reached max-size: move the file away, so that capmon can save more rejected alerts")

// deadLetters is a file of messages that the receiver rejected: one per line, with the reason.
type deadLetters struct {
	path    string // "": there is none
	maxSize int64
}

// add appends a message and syncs the file. It returns the path of the file.
func (d deadLetters) add(reason string, message []byte) (string, error) {
	if d.path == "" {
		return "", nil
	}
	line, err := marshal(struct {
		Time    time.Time       `json:"time"`
		Reason  string          `json:"reason"`
		Message json.RawMessage `json:"message"`
	}{time.Now(), reason, rawJSON(message)})
	if err != nil {
		return "", err
	}
	out, err := os.OpenFile(d.path, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return "", err
	}
	info, err := out.Stat()
	if err == nil && info.Size()+int64(len(line)) > d.maxSize {
		err = errRejectedFull
	}
	if err == nil {
		_, err = out.Write(append(line, '\n'))
	}
	if err == nil {
		err = out.Sync()
	}
	return d.path, errors.Join(err, out.Close())
}

// rawJSON returns a message as JSON. If it is not valid JSON, the result is a JSON string of it.
func rawJSON(message []byte) json.RawMessage {
	if json.Valid(message) {
		return message
	}
	text, _ := json.Marshal(string(message)) // cannot fail for a string
	return text
}

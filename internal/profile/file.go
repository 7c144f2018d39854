package profile

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"

	"github.com/capmon/capmon/internal/atomicfile"
)

// FileError means that a file does not contain a profile that this version of capmon can read.
type FileError struct {
	Path string
	Err  error
}

func (e *FileError) Error() string { return fmt.Sprintf("profile file %s: %v", e.Path, e.Err) }
func (e *FileError) Unwrap() error { return e.Err }

var (
	// ErrTruncated: the file contains only the beginning of a profile.
	ErrTruncated = errors.New("it is truncated: copy the whole file again")
	// ErrForeign: the file is not a profile.
	ErrForeign = errors.New("it is not a capmon profile: make one with capmon profile --save FILE")
	// ErrNewer: a newer version of capmon wrote the file.
	ErrNewer = errors.New("a newer version of capmon wrote it: upgrade capmon to read it")
)

// Load reads a profile that [Save] wrote. The error is a [*FileError], or wraps an error of package os if the file
// cannot be read.
func Load(path string) (Profile, error) {
	data, err := os.ReadFile(path)
	if err != nil {
		return Profile{}, fmt.Errorf("reading the profile: %w", err)
	}
	profile, err := Parse(data)
	if err != nil {
		return Profile{}, &FileError{path, err}
	}
	return profile, nil
}

// Parse reads the JSON form of a profile. It returns [ErrTruncated], [ErrForeign] or [ErrNewer] if it cannot.
func Parse(data []byte) (Profile, error) {
	var head struct {
		Format string `json:"format"`
		Schema int    `json:"schema"`
	}
	if err := decode(data, &head); err != nil {
		return Profile{}, err
	}
	if head.Format != Format || head.Schema < 1 {
		return Profile{}, ErrForeign
	}
	if head.Schema > Schema {
		return Profile{}, fmt.Errorf("schema %d, this version of capmon reads schemas up to %d: %w", head.Schema, Schema, ErrNewer)
	}
	var profile Profile
	if err := decode(data, &profile); err != nil {
		return Profile{}, err
	}
	return Merge(profile), nil
}

func decode(data []byte, into any) error {
	err := json.Unmarshal(data, into)
	var syntax *json.SyntaxError
	switch {
	case err == nil:
		return nil
	case isCut(data):
		return ErrTruncated
	case errors.As(err, &syntax):
		return ErrForeign
	}
	return fmt.Errorf("%w (%w)", ErrForeign, err)
}

// isCut reports whether the data are only the beginning of a JSON object.
func isCut(data []byte) bool {
	if !bytes.HasPrefix(bytes.TrimSpace(data), []byte("{")) {
		return false
	}
	var object json.RawMessage
	return errors.Is(json.NewDecoder(bytes.NewReader(data)).Decode(&object), io.ErrUnexpectedEOF)
}

// Encode writes the JSON form of a profile.
func Encode(w io.Writer, profile Profile) error {
	encoder := json.NewEncoder(w)
	encoder.SetEscapeHTML(false)
	encoder.SetIndent("", "  ")
	return encoder.Encode(profile)
}

// CheckSave returns an error if [Save] could not write to the file at present. Call it before a long observation.
func CheckSave(path string) error {
	if path == "-" {
		return saving(errors.New("- does not mean standard output here: name a file"))
	}
	return saving(atomicfile.Check(path))
}

// Save writes a profile to a file. If Save fails, an existing file stays unchanged. An existing file keeps its mode and
// owner.
func Save(path string, profile Profile) error {
	return saving(atomicfile.Write(path, func(w io.Writer) error { return Encode(w, profile) }))
}

func saving(err error) error {
	if err != nil {
		return fmt.Errorf("saving the profile: %w", err)
	}
	return nil
}

// Package waiver reads waivers, which accept the risk of capabilities for a time, and decides which findings they
// cover.
package waiver

import (
	"encoding/json"
	"slices"
	"time"

	"github.com/capmon/capmon/capability"
	"github.com/capmon/capmon/internal/container"
	"github.com/capmon/capmon/internal/containerid"
)

// File is a file of waivers.
type File struct {
	// Waivers that the file contains, in any order. [] means none.
	Waivers []Waiver `yaml:"waivers"`
	// Path of the file.
	Path string `yaml:"-"`
}

// Waiver accepts the risk that some containers have some capabilities, until a date. It needs Container or Image. With
// both, a container must match both.
type Waiver struct {
	// Container is the name or ID of a container, or a pattern of names. An ID is complete, or has at least its first
	// 12 digits. In patterns, * and ? match anything but a slash, and [...] matches one of several characters.
	Container Pattern `yaml:"container,omitempty" json:"container,omitempty"`
	// Image is a pattern of image names: nginx:1.27, or nginx for any tag; with or without docker.io/library. The ID or
	// digest of an image, sha256:…, selects the image whatever its name. NAME@sha256:… requires both.
	Image Pattern `yaml:"image,omitempty" json:"image,omitempty"`
	// Capabilities whose risk is accepted.
	Capabilities Capabilities `yaml:"capabilities" json:"capabilities"`
	// Reason why the risk is accepted.
	Reason Text `yaml:"reason" json:"reason"`
	// Owner is the person or team that accepts the risk.
	Owner Text `yaml:"owner" json:"owner"`
	// Expires is the last day on which the waiver is valid, in UTC.
	Expires Date `yaml:"expires" json:"expires"`
	// Line of the waiver in its file.
	Line int `yaml:"-" json:"line"`

	containers container.Filter // for Container
	images     container.Filter // for the name in Image
	digest     string           // in Image, "" if there is none
}

// Pattern is a pattern of names. It is not empty.
type Pattern string

// Text is a line of printable characters. It is not empty.
type Text string

// Capabilities is a set that is written as a list of names, in upper or lower case, with or without CAP_. DEFAULT means
// the 14 that Docker grants by default. ALL means all capabilities, and also covers that a container is privileged.
type Capabilities struct{ capability.Set }

const all = "ALL"

// All reports whether the list contains ALL.
func (c Capabilities) All() bool { return c.Set == ^capability.Set(0) }

// Text returns the names, or ALL or DEFAULT.
func (c Capabilities) Text() string {
	switch {
	case c.All():
		return all
	case c.Set == capability.DockerDefault():
		return "DEFAULT"
	}
	return c.Set.Text()
}

// MarshalJSON returns a list of names, or only ALL.
func (c Capabilities) MarshalJSON() ([]byte, error) {
	if c.All() {
		return json.Marshal([]string{all})
	}
	return json.Marshal(c.Set)
}

// UnmarshalJSON reads a list of names, or of ALL.
func (c *Capabilities) UnmarshalJSON(data []byte) error {
	var names []string
	if err := json.Unmarshal(data, &names); err != nil {
		return err
	}
	for _, name := range names {
		set, err := capability.ParseSet(name)
		if err != nil {
			return err
		}
		c.Set = c.Union(set)
	}
	return nil
}

// Date is a day in UTC.
type Date struct{ time.Time }

const dateForm = "2006-01-02"

// String returns the date as 2006-01-02.
func (d Date) String() string { return d.Format(dateForm) }

// MarshalJSON returns the same text as [Date.String].
func (d Date) MarshalJSON() ([]byte, error) { return json.Marshal(d.String()) }

// UnmarshalJSON reads the same text.
func (d *Date) UnmarshalJSON(data []byte) error {
	var text string
	err := json.Unmarshal(data, &text)
	if err == nil {
		d.Time, err = time.Parse(dateForm, text)
	}
	return err
}

// End returns when the day ends.
func (d Date) End() time.Time { return d.AddDate(0, 0, 1) }

// daysFrom returns how many days after now the date is: 0 if it is the present day, less if it is over.
func (d Date) daysFrom(now time.Time) int {
	const day = 24 * 60 * 60
	today, _ := time.Parse(dateForm, now.UTC().Format(dateForm))
	return int((d.Unix() - today.Unix()) / day)
}

// selects reports whether the waiver selects a container. It selects none that no engine confirms, because another user
// may have chosen the ID. A pattern does not match a name that capmon does not know.
func (w *Waiver) selects(c container.Info) bool {
	return c.Unconfirmed == "" && (w.Container == "" || w.selectsName(c)) && (w.Image == "" || w.selectsImage(c))
}

// selectsName reports whether the pattern matches the name or the ID. If the name is not known, only an ID selects it.
func (w *Waiver) selectsName(c container.Info) bool {
	if c.Name == "" {
		return containerid.Denotes(string(w.Container), c.ID)
	}
	return w.containers.Match(c)
}

func (w *Waiver) selectsImage(c container.Info) bool {
	if w.digest != "" && !slices.Contains([]string{c.ImageID, c.ImageDigest}, w.digest) {
		return false
	}
	return string(w.Image) == w.digest || c.Image != "" && w.images.Match(c)
}

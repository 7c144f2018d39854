package rules

import (
	"fmt"
	"path/filepath"
	"strings"

	"github.com/distribution/reference"

	"github.com/capmon/capmon/internal/capability"
	"github.com/capmon/capmon/internal/printable"
	"github.com/capmon/capmon/internal/profile"
	"github.com/capmon/capmon/internal/strictyaml"
	"github.com/capmon/capmon/internal/uses"
)

// baseline is what containers used before, by image.
type baseline struct {
	images map[string]used
}

// used are capabilities, by the kernel's answer.
type used struct{ granted, denied capability.Set }

// imageName is an image's name in full, however it was written.
func imageName(image string) string {
	named, err := reference.ParseNormalizedNamed(image)
	if err != nil {
		return image
	}
	return reference.TagNameOnly(named).String()
}

// knows tells whether there is an earlier profile of an image.
func (b *baseline) knows(image string) bool {
	_, ok := b.images[imageName(image)]
	return ok
}

// isNew tells whether no earlier container of the image has used the capability, or was denied it,
// respectively. To an image without a profile nothing is new.
func (b *baseline) isNew(use uses.Use) (is answer, unsure string) {
	if use.Container.Unidentified && len(b.images) > 0 {
		return perhaps, "the engine has not told in time which image it is"
	}
	before, known := b.images[imageName(use.Container.Image)]
	switch {
	case !known, use.Granted && before.granted.Has(use.Capability), !use.Granted && before.denied.Has(use.Capability):
		return no, ""
	}
	return yes, ""
}

// LoadProfiles reads the profiles that the rules name. It returns what to know of those that
// are not there. The error is a *strictyaml.Error.
func (f *File) LoadProfiles() (notes []string, err error) {
	for i := range f.Rules {
		rule := &f.Rules[i]
		if rule.Profiles == nil {
			continue
		}
		rule.baseline = &baseline{images: make(map[string]used)}
		for _, pattern := range rule.Profiles {
			found, err := rule.baseline.load(f.relative(pattern))
			if err != nil {
				return nil, &strictyaml.Error{Path: f.Path, Line: rule.Line, Text: printable.Text(fmt.Sprintf("rule %q: %v", rule.Name, err))}
			}
			if !found {
				notes = append(notes, fmt.Sprintf("rule %q: there is no profile at %s", rule.Name, pattern))
			}
		}
		if len(rule.baseline.images) == 0 {
			notes = append(notes, fmt.Sprintf("rule %q cannot alert: it knows no image", rule.Name))
		}
	}
	return notes, nil
}

// relative is a pattern of files as the file of rules means it.
func (f *File) relative(pattern string) string {
	if filepath.IsAbs(pattern) {
		return pattern
	}
	return filepath.Join(filepath.Dir(f.Path), pattern)
}

// load adds what the profiles at a pattern tell.
func (b *baseline) load(pattern string) (found bool, err error) {
	paths, err := filepath.Glob(pattern)
	if err != nil {
		return false, err
	}
	if len(paths) == 0 && !strings.ContainsAny(pattern, `*?[`) {
		paths = []string{pattern} // whose absence is an error
	}
	for _, path := range paths {
		p, err := profile.Load(path)
		if err != nil {
			return false, err
		}
		for _, run := range p.Runs {
			b.add(run)
		}
	}
	return len(paths) > 0, nil
}

func (b *baseline) add(run profile.Run) {
	if run.Container.Image == "" {
		return
	}
	name := imageName(run.Container.Image)
	of := b.images[name]
	for _, use := range recorded(run) {
		switch {
		case !use.Matters():
		case use.Granted:
			of.granted = of.granted.With(use.Capability)
		default:
			of.denied = of.denied.With(use.Capability)
		}
	}
	b.images[name] = of
}

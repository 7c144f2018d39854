package rules

import (
	"fmt"
	"path/filepath"
	"strings"

	"github.com/distribution/reference"

	"github.com/capmon/capmon/capability"
	"github.com/capmon/capmon/internal/printable"
	"github.com/capmon/capmon/internal/profile"
	"github.com/capmon/capmon/internal/strictyaml"
	"github.com/capmon/capmon/internal/uses"
)

// baseline contains the capabilities that images used in earlier profiles.
type baseline struct {
	images map[string]used // by full name
}

// used contains the used capabilities, by the answer of the kernel.
type used struct{ granted, denied capability.Set }

// imageName returns the full name of an image, with registry and tag.
func imageName(image string) string {
	named, err := reference.ParseNormalizedNamed(image)
	if err != nil {
		return image
	}
	return reference.TagNameOnly(named).String()
}

// knows reports whether there is a profile of an image.
func (b *baseline) knows(image string) bool {
	_, ok := b.images[imageName(image)]
	return ok
}

// isNew reports whether the profiles of the image do not contain the capability with the same answer of the kernel.
// For an image without a profile, nothing is new. If the result is perhaps, unsure describes what is unknown.
func (b *baseline) isNew(use uses.Use) (result answer, unsure string) {
	if use.Container.Unidentified && len(b.images) > 0 {
		return perhaps, "the engine did not report the image in time"
	}
	before, known := b.images[imageName(use.Container.Image)]
	switch {
	case !known, use.Granted && before.granted.Has(use.Capability), !use.Granted && before.denied.Has(use.Capability):
		return no, ""
	}
	return yes, ""
}

// LoadProfiles reads the profiles that the rules name. It returns a warning for each pattern without files and for
// each rule that cannot alert. The error is a *[strictyaml.Error].
func (f *File) LoadProfiles() (warnings []string, err error) {
	for i := range f.Rules {
		rule := &f.Rules[i]
		if rule.Profiles == nil {
			continue
		}
		rule.baseline = &baseline{images: make(map[string]used)}
		var missing []string
		for _, pattern := range rule.Profiles {
			found, err := rule.baseline.load(f.relative(pattern))
			if err != nil {
				return nil, &strictyaml.Error{Path: f.Path, Line: rule.Line, Text: printable.Text(fmt.Sprintf("rule %q: %v", rule.Name, err))}
			}
			if !found {
				missing = append(missing, pattern)
			}
		}
		if len(missing) == len(rule.Profiles) {
			warnings = append(warnings, fmt.Sprintf("rule %q cannot alert: there is no profile at %s", rule.Name, strings.Join(missing, " or at ")))
			continue
		}
		for _, pattern := range missing {
			warnings = append(warnings, fmt.Sprintf("rule %q: there is no profile at %s", rule.Name, pattern))
		}
		if len(rule.baseline.images) == 0 {
			warnings = append(warnings, fmt.Sprintf("rule %q cannot alert: its profiles do not contain an image", rule.Name))
		}
	}
	return warnings, nil
}

// relative returns a pattern relative to the directory of the file of rules.
func (f *File) relative(pattern string) string {
	if filepath.IsAbs(pattern) {
		return pattern
	}
	return filepath.Join(filepath.Dir(f.Path), pattern)
}

// load adds the profiles that match a pattern. found reports whether there are any.
func (b *baseline) load(pattern string) (found bool, err error) {
	paths, err := filepath.Glob(pattern)
	if err != nil {
		return false, err
	}
	if len(paths) == 0 && !strings.ContainsAny(pattern, `*?[`) {
		paths = []string{pattern} // a missing file is an error
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
	image := b.images[name]
	for _, use := range recordedUses(run) {
		switch {
		case !use.Matters():
		case use.Granted:
			image.granted = image.granted.With(use.Capability)
		default:
			image.denied = image.denied.With(use.Capability)
		}
	}
	b.images[name] = image
}

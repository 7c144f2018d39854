package report

import (
	"github.com/capmon/capmon/internal/capability"
	"github.com/capmon/capmon/internal/compare"
	"github.com/capmon/capmon/internal/profile"
)

// jsonComparison is a comparison for programs.
type jsonComparison struct {
	// Version of the form of the comparison.
	Schema int `json:"schema"`
	// Whether a container needs a capability, or tried one and was denied, that it did not before.
	New bool `json:"new"`
	// In the order of their start, those that are not in the later profile last.
	Containers []jsonCompared `json:"containers"`
}

// jsonCompared is a container, or a service, in both profiles.
type jsonCompared struct {
	// By which it is known: its service's or its own, in the later profile if it is there.
	Name string `json:"name"`
	// How it was told which is which: choice, service, name, image, only; missing if it is in one of the two.
	PairedBy compare.PairedBy `json:"pairedBy,omitempty"`
	// What it was in the earlier profile; null if it is not there.
	Before *jsonSide `json:"before" jsonschema:"nullable"`
	// What it is in the later profile; null if it is not there.
	After *jsonSide `json:"after" jsonschema:"nullable"`
	// Capabilities that are needed, or were tried and denied, and were not before.
	New capability.Set `json:"new"`
	// Capabilities that were needed or denied, and are asked for no more.
	Gone capability.Set `json:"gone"`
	// Why what looks new may have been needed before; empty if that is certain.
	NewUnsure []string `json:"newUnsure"`
	// Why what looks gone may still be needed; empty if that is certain.
	GoneUnsure []string `json:"goneUnsure"`
	// Capabilities that are granted, and were not before.
	Granted capability.Set `json:"granted"`
	// Capabilities that were granted, and are not any more.
	Withdrawn capability.Set `json:"withdrawn"`
	// What became of each capability that was needed or denied in either.
	Capabilities []jsonCapabilityChange `json:"capabilities"`
	// Ways in which capabilities were asked for that are new, changed or gone; with --all, those
	// that are the same and those that are no need, too.
	Uses []jsonUseChange `json:"uses"`
}

// jsonSide is a container in one of the profiles.
type jsonSide struct {
	profile.Container
	// How many runs were added up.
	Runs int `json:"runs"`
	// How long the workload was seen running, in total.
	Seconds float64 `json:"seconds"`
	// Why it may have used more while it was watched; empty if all was recorded.
	Missing []string `json:"missing"`
	// Why it may have used more while it was not watched; empty if its whole run was.
	Unwitnessed []string `json:"unwitnessed"`
	// The minimal list, as proved or else as observed.
	List capability.Set `json:"list"`
	// What was granted; null if it is not known.
	Granted *capability.Set `json:"granted" jsonschema:"nullable"`
	// Whether a proof of verify holds.
	Proved bool `json:"proved"`
}

// jsonCapabilityChange is what became of the need for a capability.
type jsonCapabilityChange struct {
	Capability capability.Capability `json:"capability"`
	// needed, denied (tried in earnest), "proved unneeded" (although used) or "" for not asked for.
	Before compare.Status `json:"before"`
	// The same, after.
	After compare.Status `json:"after"`
}

// jsonUseChange is what became of a way to use a capability.
type jsonUseChange struct {
	// new, changed, gone or same.
	Change compare.Change `json:"change"`
	// What changed: class, granted, program, call (with its arguments), site (the kernel function).
	Changed []compare.Field `json:"changed,omitempty"`
	// The use before; null if it is new.
	Before *profile.Use `json:"before" jsonschema:"nullable"`
	// The use after; null if it is gone.
	After *profile.Use `json:"after" jsonschema:"nullable"`
}

func jsonOfComparison(c compare.Comparison, options Options) jsonComparison {
	all := jsonComparison{Schema: schema, New: len(c.New()) > 0, Containers: []jsonCompared{}}
	for _, each := range c.Containers {
		j := jsonCompared{
			Name: each.Name(), PairedBy: each.PairedBy, Before: jsonOfSide(each.Before), After: jsonOfSide(each.After),
			New: each.New(), Gone: each.Gone(), Granted: each.Granted, Withdrawn: each.Withdrawn,
			NewUnsure: append([]string{}, each.NewUnsure...), GoneUnsure: append([]string{}, each.GoneUnsure...),
			Capabilities: []jsonCapabilityChange{}, Uses: []jsonUseChange{},
		}
		for _, capability := range each.Capabilities {
			j.Capabilities = append(j.Capabilities, jsonCapabilityChange(capability))
		}
		for _, use := range each.Uses {
			if options.All || use.Matters() && use.Change != compare.Same {
				j.Uses = append(j.Uses, jsonUseChange{use.Change, use.Fields, use.Before, use.After})
			}
		}
		all.Containers = append(all.Containers, j)
	}
	return all
}

func jsonOfSide(s *profile.Summary) *jsonSide {
	if s == nil {
		return nil
	}
	side := &jsonSide{
		Container: s.Container, Runs: s.Runs, Seconds: s.Observed.Seconds(), List: s.List(), Proved: s.Proved(),
		Missing: append([]string{}, s.Missing()...), Unwitnessed: append([]string{}, s.Unwitnessed()...),
	}
	if granted, known := s.Grants.Set(); known {
		side.Granted = &granted
	}
	return side
}

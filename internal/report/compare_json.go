package report

import (
	"github.com/capmon/capmon/capability"
	"github.com/capmon/capmon/internal/compare"
	"github.com/capmon/capmon/internal/profile"
)

// jsonComparison is the JSON form of a comparison.
type jsonComparison struct {
	// Version of this JSON format.
	Schema int `json:"schema"`
	// True if the field new of at least one container is not empty.
	New bool `json:"new"`
	// Where the facts in the comparison come from.
	Evidence jsonEvidences `json:"evidence"`
	// Sorted by their start. Containers that are not in the later profile are last.
	Containers []jsonCompared `json:"containers"`
}

// jsonEvidences is the evidence of both profiles.
type jsonEvidences struct {
	// Of the earlier profile.
	Before profile.Evidence `json:"before"`
	// Of the later profile.
	After profile.Evidence `json:"after"`
}

// jsonCompared is a container, or a service, in both profiles.
type jsonCompared struct {
	// Name of the service, or of the container: from the later profile if the container is in it.
	Name string `json:"name"`
	// How capmon matched the containers: choice, service, name, image or only; missing if the container is in one
	// profile only.
	PairedBy compare.PairedBy `json:"pairedBy,omitempty"`
	// The container in the earlier profile; null if it is not in that profile.
	Before *jsonSide `json:"before" jsonschema:"nullable"`
	// The container in the later profile; null if it is not in that profile.
	After *jsonSide `json:"after" jsonschema:"nullable"`
	// Capabilities that the container needs and did not need before, and capabilities that it tried to use without
	// success and did not use before.
	New capability.Set `json:"new"`
	// Capabilities that were needed or denied, and that the container no longer uses.
	Gone capability.Set `json:"gone"`
	// Why a capability that looks new may have been needed before; empty if it is certainly new.
	NewUnsure []string `json:"newUnsure"`
	// Why a capability that looks gone may still be needed; empty if it is certainly gone.
	GoneUnsure []string `json:"goneUnsure"`
	// Capabilities that are granted only after.
	Granted capability.Set `json:"granted"`
	// Capabilities that are granted only before.
	Withdrawn capability.Set `json:"withdrawn"`
	// The change of each capability that was needed or denied in either profile.
	Capabilities []jsonCapabilityChange `json:"capabilities"`
	// Patterns of use that are new, changed or gone; with --all also those that are the same, and those that are
	// neither a need nor denied.
	Uses []jsonUseChange `json:"uses"`
}

// jsonSide is a container in one of the profiles.
type jsonSide struct {
	profile.Container
	// Number of runs that were added up.
	Runs int `json:"runs"`
	// How long capmon saw the workload run, in total.
	Seconds float64 `json:"seconds"`
	// Why the container may have used more while capmon watched it; empty if capmon recorded everything.
	Missing []string `json:"missing"`
	// Why the container may have used more while capmon did not watch it; empty if capmon watched the whole run.
	Unwitnessed []string `json:"unwitnessed"`
	// The list: the proved one, or otherwise the observed one.
	List capability.Set `json:"list"`
	// The granted capabilities; null if they are not known.
	Granted *capability.Set `json:"granted" jsonschema:"nullable"`
	// True if a proof of capmon verify holds.
	Proved bool `json:"proved"`
}

// jsonCapabilityChange is the change of the need for a capability.
type jsonCapabilityChange struct {
	Capability capability.Capability `json:"capability"`
	// Status in the earlier profile: needed, denied (tried and denied), "proved unneeded" (although used), or "" if not
	// used.
	Before compare.Status `json:"before"`
	// Status in the later profile, with the same values.
	After compare.Status `json:"after"`
}

// jsonUseChange is the change of a pattern of use.
type jsonUseChange struct {
	// new, changed, gone or same.
	Change compare.Change `json:"change"`
	// Which fields changed: class, granted, program, call (with its arguments), site (the kernel function).
	Changed []compare.Field `json:"changed,omitempty"`
	// The use in the earlier profile; null if it is new.
	Before *profile.UsePattern `json:"before" jsonschema:"nullable"`
	// The use in the later profile; null if it is gone.
	After *profile.UsePattern `json:"after" jsonschema:"nullable"`
}

func jsonOfComparison(c compare.Comparison, options Options) jsonComparison {
	all := jsonComparison{
		Schema: schema, New: len(c.New()) > 0, Evidence: jsonEvidences{options.Before, options.Evidence}, Containers: []jsonCompared{},
	}
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

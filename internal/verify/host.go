package verify

import (
	"fmt"

	"github.com/capmon/capmon/capability"
	"github.com/capmon/capmon/internal/classify"
	"github.com/capmon/capmon/internal/profile"
)

// hostRepeats is the number of repetitions of a trial that the host may have decided.
const hostRepeats = 2

// hostDependence returns what else on the host a check depends on; "" if it does not.
func hostDependence(use profile.UsePattern) string {
	switch classify.SharedLimit(use.Site) {
	case classify.PerUser:
		return fmt.Sprintf("depends on what else user %d does on the host", use.User)
	case classify.PerHost:
		return "depends on what else the host does"
	}
	return ""
}

// decidedByHost returns why a trial may have failed because of other activity on the host: the kernel newly denied only
// such checks. It returns "" if the trial did not fail, or not for that reason.
func decidedByHost(a attempt, before capability.Set) (reason string) {
	untouched := a.Without.Empty() && a.With.Empty()
	switch {
	case a.Same && !untouched:
		return "" // only the full list fails if a check is denied
	case !a.Denied.Intersect(a.Without).Empty():
		return "" // the capability that was left out was denied, which explains the failure
	}
	missing := newlyDenied(a, before)
	for _, use := range a.DeniedChecks {
		if !missing.Has(use.Capability) {
			continue
		}
		dependence := hostDependence(use)
		if dependence == "" {
			return ""
		}
		reason = fmt.Sprintf("%s was denied in %s, which %s", use.Capability, use.Site, dependence)
	}
	return reason
}

package rules

import (
	"path"
	"reflect"
	"slices"
	"strings"

	"github.com/capmon/capmon/internal/classify"
	"github.com/capmon/capmon/internal/container"
	"github.com/capmon/capmon/internal/kubernetes"
	"github.com/capmon/capmon/internal/profile"
	"github.com/capmon/capmon/internal/uses"
)

// answer is whether a use meets a condition. perhaps means that a value is unknown.
type answer int

const (
	no answer = iota
	perhaps
	yes
)

// judgement is the result of evaluating a rule for a use.
type judgement struct {
	// alerts is whether the rule alerts: yes if the use meets its conditions and no exception; perhaps if that is
	// unknown.
	alerts answer
	// unsure describes what is unknown; "" if nothing is.
	unsure string
	// allowed is the index of the exception that allows the use; -1 for none.
	allowed int
}

// judge evaluates the rule for a use, without bursts and cool-downs.
func (r *Rule) judge(use uses.Use) judgement {
	j := judgement{allowed: -1}
	if len(r.Classes) == 0 && !use.Matters() {
		return j
	}
	if j.alerts, j.unsure = r.match(use); j.alerts == no {
		return j
	}
	if r.Profiles != nil {
		isNew, unsure := r.baseline.isNew(use)
		j.alerts, j.unsure = min(j.alerts, isNew), firstOf(j.unsure, unsure)
		if isNew == no {
			return j
		}
	}
	for i := range r.Except {
		switch met, unsure := r.Except[i].match(use); met {
		case yes:
			return judgement{alerts: no, allowed: i}
		case perhaps:
			j.alerts, j.unsure = perhaps, firstOf(j.unsure, unsure)
		case no:
		}
	}
	return j
}

func firstOf(one, other string) string {
	if one != "" {
		return one
	}
	return other
}

// match reports whether a use meets the conditions. If the result is perhaps, unsure describes what is unknown.
func (c *Conditions) match(use uses.Use) (result answer, unsure string) {
	if !c.matchesUse(use) {
		return no, ""
	}
	result = yes
	switch matched := c.matchesContainer(use.Container); {
	case matched == yes:
	case use.Container.Unidentified:
		result, unsure = perhaps, "the engine did not report the container in time"
	case matched == perhaps:
		result, unsure = perhaps, "the value of a label was not stored in the profile (see --keep-label)"
	default:
		return no, ""
	}
	if len(c.Executables) > 0 && !oneMatches(c.Executables, use.Process.Executable) {
		if use.Process.Executable != "" && !strings.HasPrefix(use.Process.Executable, "…") {
			return no, ""
		}
		result, unsure = perhaps, firstOf(unsure, "the executed file is unknown")
	}
	return result, unsure
}

func (c *Conditions) matchesUse(use uses.Use) bool {
	switch {
	case c.Capabilities != nil && !c.Capabilities.Has(use.Capability),
		c.RawSocket != nil && !c.RawSocket.matches(use),
		c.Answer != "" && (c.Answer == Granted) != use.Granted,
		c.Classes != nil && !slices.Contains(c.Classes, use.Class),
		c.NestedUserns != nil && *c.NestedUserns != inNestedUserns(use):
		return false
	}
	return true
}

func inNestedUserns(use uses.Use) bool { return use.Nested || use.Class == classify.NestedUserns }

func (r *RawSocket) matches(use uses.Use) bool {
	return r.Opened == use.RawSocket && (len(r.Families) == 0 || slices.Contains(r.Families, use.Family))
}

// matchesContainer returns perhaps if the result depends on a label value that was not stored.
func (c *Conditions) matchesContainer(of uses.ContainerRef) answer {
	labels := of.EngineLabels
	if labels == nil { // the use is from a profile
		labels = of.Labels
	}
	labelled := profile.Container{Labels: labels}
	_, service := labelled.ComposeService()
	if len(c.Services) > 0 && !oneMatches(c.Services, service) && !oneMatches(c.Services, labelled.Service()) ||
		len(c.Namespaces) > 0 && !oneMatches(c.Namespaces, labels[kubernetes.NamespaceLabel]) {
		return no
	}
	info := container.Info{ID: of.ID, Name: of.Name, Image: of.Image, Labels: labels}
	switch {
	case c.filter.Match(info):
		return yes
	case c.filter.MayMatch(info):
		return perhaps
	}
	return no
}

// oneMatches reports whether at least one pattern matches a text that is not empty.
func oneMatches(patterns []string, text string) bool {
	return text != "" && slices.ContainsFunc(patterns, func(pattern string) bool {
		ok, _ := matches(pattern, text) // check has validated the pattern
		return ok
	})
}

func matches(pattern, text string) (bool, error) { return path.Match(pattern, text) }

// compile sets the filter from the patterns.
func (c *Conditions) compile() (err error) {
	c.filter, err = container.NewFilter(c.Containers, c.Images, c.Labels)
	return err
}

// patterns returns the lists of patterns with their keys.
func (c *Conditions) patterns() []patterns {
	return []patterns{
		{"containers", c.Containers}, {"images", c.Images}, {"labels", c.Labels}, {"services", c.Services},
		{"namespaces", c.Namespaces}, {"executables", c.Executables},
	}
}

type patterns struct {
	key  string
	list []string
}

// empty reports whether there are no conditions.
func (c *Conditions) empty() bool { return reflect.ValueOf(*c).IsZero() }

package main

import (
	"cmp"
	"context"
	"fmt"
	"path/filepath"
	"strings"
	"time"

	"github.com/capmon/capmon/internal/container"
	"github.com/capmon/capmon/internal/printable"
	"github.com/capmon/capmon/internal/profile"
	"github.com/capmon/capmon/internal/store"
)

// newEvidence returns the evidence of an output that capmon makes now. Every name in scope must be printable.
func newEvidence(scope string) profile.Evidence {
	return profile.Evidence{Scope: scope, Created: time.Now().UTC(), Capmon: versionNumber()}
}

// scope describes what load reads.
func (i *profileInput) scope(files []string) string {
	what := namedFiles(files)
	if what == "" {
		what = "database " + printable.Word(i.db)
	}
	selection, _ := i.parseSelection() // load returns its error
	return joinScope(what, selection.WithoutLabelValues().Options())
}

// namedFiles returns the names of profiles as text; "" if there are none.
func namedFiles(files []string) string { return named("profile", "profiles", files) }

// named returns names as text, after one or several, which are words for what has these names; "" without names.
func named(one, several string, names []string) string {
	var words []string
	for _, name := range names {
		words = append(words, printable.Word(name))
	}
	switch len(words) {
	case 0:
		return ""
	case 1:
		return one + " " + words[0]
	}
	return several + " " + abbreviate(words)
}

// joinScope joins the parts that are not empty.
func joinScope(parts ...string) string {
	var present []string
	for _, part := range parts {
		if part != "" {
			present = append(present, part)
		}
	}
	return strings.Join(present, ", ")
}

// runningScope describes the containers that profile records without a command.
func runningScope(names []string, filter store.Selection) string {
	if len(names) > 0 {
		return joinScope(named("container", "containers", names), filter.WithoutLabelValues().Options())
	}
	return joinScope("all containers", filter.WithoutLabelValues().Options())
}

// commandScope describes the containers that profile records with a command. It does not contain the arguments, which
// may be secret.
func commandScope(command []string, all bool, filter store.Selection) string {
	program := printable.Word(filepath.Base(command[0]))
	if all {
		return joinScope("all containers that started while "+program+" ran", filter.WithoutLabelValues().Options())
	}
	return joinScope("containers that "+program+" started", filter.WithoutLabelValues().Options())
}

// scope describes the audited containers, and where capmon reads what they use.
func (a *auditFlags) scope(names []string, containers int, readsDB bool) string {
	audited := fmt.Sprintf("all containers of the engine (%d)", containers)
	if len(names) > 0 {
		audited = named("container", "containers", names)
	}
	if a.static {
		return joinScope(audited, "grants only")
	}
	var sources []string
	if len(a.files) > 0 {
		sources = append(sources, namedFiles(a.files))
	}
	if readsDB {
		sources = append(sources, "database "+printable.Word(a.input.db))
	}
	if a.duration > 0 {
		sources = append(sources, fmt.Sprintf("an observation for %v", time.Duration(a.duration)))
	}
	return joinScope(audited, "uses from "+strings.Join(sources, " and "))
}

// auditedEngine returns the description of an engine. It is empty if the engine does not describe itself.
func auditedEngine(ctx context.Context, engine container.Engine) *profile.AuditedEngine {
	version, err := engine.Version(ctx)
	if err != nil {
		return &profile.AuditedEngine{} // the evidence says that they are unknown
	}
	return &profile.AuditedEngine{Host: version.Host, Engine: cmp.Or(version.Title, engine.Name()+" "+version.Engine)}
}

// verifyScope describes the container that verify ran, and where its list is from.
func verifyScope(proof profile.Proof, files []string) string {
	list := "list from its first run"
	if len(files) > 0 {
		list = "list from " + namedFiles(files)
	}
	return joinScope("container "+printable.Word(proof.Container.Title()), list)
}

// scope describes the files that check compares the profiles with.
func (c *checkRules) scope() string {
	file := func(what, path string) string {
		if path == "" {
			return ""
		}
		return what + " " + printable.Word(path)
	}
	return joinScope(file("policy", c.policyFile), file("baseline", c.baseline))
}

package container

import (
	"context"
	"fmt"
	"os"
	"slices"
	"strings"

	"github.com/capmon/capmon/internal/seccomp"
)

// builtin and its former name are how Docker calls the profile that it comes with.
var builtin = []string{"builtin", "default"}

// seccompOf is the profile of a container (WithSeccomp, moby's
// daemon/seccomp_linux.go). docker run has put the file's contents into the option.
//
// A privileged container has none unless it asks for one. But what its list is for is
// to run it without --privileged, and then it has the one that others have.
func (d *Docker) seccompOf(ctx context.Context, options []string) (*seccomp.Profile, error) {
	for _, option := range slices.Backward(options) { // the last one counts
		key, value, _ := strings.Cut(option, "=")
		if key != "seccomp" {
			if key, value, _ = strings.Cut(option, ":"); key != "seccomp" { // the former separator
				continue
			}
		}
		if value == builtin[0] {
			break
		}
		return seccomp.Parse(value)
	}
	return d.engineSeccomp(ctx)
}

// engineSeccomp is the profile of a container that asks for none.
func (d *Docker) engineSeccomp(ctx context.Context) (*seccomp.Profile, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.seccomp != nil {
		return d.seccomp, nil
	}
	info, err := d.client.Info(ctx)
	if err != nil {
		return nil, fmt.Errorf("asking Docker for its seccomp profile: %w", err)
	}
	if d.seccomp, err = parseEngineSeccomp(info.SecurityOptions, info.ServerVersion); err != nil {
		return nil, err
	}
	return d.seccomp, nil
}

// parseEngineSeccomp reads what Docker tells of its security, such as
// name=seccomp,profile=builtin. Another profile is a file of the engine's host.
func parseEngineSeccomp(security []string, engine string) (*seccomp.Profile, error) {
	for _, option := range security {
		path, ok := strings.CutPrefix(option, "name=seccomp,profile=")
		switch {
		case !ok:
			continue
		case path == builtin[0] || path == builtin[1]:
			return seccomp.Default(engine)
		case path == seccomp.Unconfined:
			return seccomp.Parse(path)
		}
		body, err := os.ReadFile(path)
		if err != nil {
			return nil, fmt.Errorf("reading Docker's seccomp profile: %w", err)
		}
		return seccomp.Parse(string(body))
	}
	return seccomp.Parse(seccomp.Unconfined) // without it in the kernel
}

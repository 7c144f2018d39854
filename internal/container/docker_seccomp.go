package container

import (
	"context"
	"fmt"
	"os"
	"slices"
	"strings"

	"github.com/capmon/capmon/internal/seccomp"
)

// builtin are the present and the former name of Docker's default profile.
var builtin = []string{"builtin", "default"}

// seccompOf returns the seccomp profile of a container, as moby chooses it (WithSeccomp in daemon/seccomp_linux.go). If
// the user named a file, docker run puts the contents of the file into the option.
//
// A privileged container has no profile unless an option sets one. capmon's list is for running it without
// --privileged, so seccompOf returns the profile that the container would have then.
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

// engineSeccomp returns the profile of a container without a seccomp option.
func (d *Docker) engineSeccomp(ctx context.Context) (*seccomp.Profile, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.seccomp != nil {
		return d.seccomp, nil
	}
	info, err := d.client.Info(ctx)
	if err != nil {
		return nil, fmt.Errorf("requesting Docker's default seccomp profile: %w", err)
	}
	if d.seccomp, err = parseEngineSeccomp(info.SecurityOptions, info.ServerVersion); err != nil {
		return nil, err
	}
	return d.seccomp, nil
}

// parseEngineSeccomp reads the default profile from the engine's security options, such as
// name=seccomp,profile=builtin. A profile that is not built in is a file on the engine's host.
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
	return seccomp.Parse(seccomp.Unconfined) // the kernel has no seccomp
}

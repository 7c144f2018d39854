package doctor

import (
	"cmp"
	"context"
	"errors"
	"os"
	"slices"
	"sync"
	"time"

	"github.com/capmon/capmon/internal/container"
)

// engineTime is how long an engine may take to answer.
const engineTime = 5 * time.Second

// engines reports which engines answer. One is enough: without Docker, capmon profiles the containers of the others.
func engines(ctx context.Context) []Finding {
	found := docker(ctx)
	chosen, err := container.ChooseDocker()
	if err != nil {
		return found // which has the error
	}
	defer chosen.Close()
	if !chosen.Local() { // capmon then asks no other engine
		return found
	}
	others := otherEngines(ctx)
	anotherAnswers := slices.ContainsFunc(others, func(f Finding) bool { return f.Status == OK })
	if found[0].Status == Failure && !chosen.Chosen() && anotherAnswers {
		found = []Finding{ok(found[0].Subject, "does not answer, does not matter: another engine answers")}
	}
	return append(found, others...)
}

// otherEngines reports which engines other than Docker answer. It asks all at the same time.
func otherEngines(ctx context.Context) []Finding {
	var members []container.Member
	podmans, _, _ := container.FindPodman()
	for _, podman := range podmans {
		members = append(members, podman)
	}
	containerds, _ := container.FindContainerd(container.ContainerdOptions{})
	for _, containerd := range containerds {
		members = append(members, containerd)
	}
	runtimes, _, _ := container.FindCRI(ctx, containerds)
	for _, runtime := range runtimes {
		members = append(members, runtime)
	}
	ctx, cancel := context.WithTimeout(ctx, engineTime)
	defer cancel()
	findings := make([]*Finding, len(members))
	var asking sync.WaitGroup
	for i, member := range members {
		asking.Go(func() {
			findings[i] = answers(ctx, member)
			_ = member.Close()
		})
	}
	asking.Wait()
	var found []Finding
	for _, finding := range findings {
		if finding != nil {
			found = append(found, *finding)
		}
	}
	return found
}

// answers reports whether an engine answers. It returns nil if this user may not ask the engine.
func answers(ctx context.Context, engine container.Member) *Finding {
	err := engine.Alive(ctx)
	if errors.Is(err, os.ErrPermission) {
		return nil
	}
	var version container.Version
	if err == nil {
		version, err = engine.Version(ctx)
	}
	if err != nil {
		return new(bad(Warning, engine.Name(), err,
			"start the engine at "+engine.Endpoint()+", or remove the socket; until it answers, capmon knows its containers only from the kernel and from OCI bundles"))
	}
	return new(ok(engine.Name(), "%s, at %s", cmp.Or(version.Title, version.Engine), engine.Endpoint()))
}

package verify

import (
	"cmp"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"maps"
	"os"
	"strings"
	"sync/atomic"

	"github.com/docker/docker/api/types/container"
	"github.com/docker/docker/client"

	engine "github.com/capmon/capmon/internal/container"
	"github.com/capmon/capmon/internal/observe"
	"github.com/capmon/capmon/internal/profile"
)

// bench runs the workload under one set of capabilities after another, in
// containers of its own.
type bench struct {
	docker   *engine.Docker
	api      client.APIClient
	observer *observe.Observer
	command  Command
	test     string
	limits   limits

	owner  string // value of the label
	prefix string // of names
	count  atomic.Int64

	// What the container turned out to be.
	container   profile.Container
	images      map[string]string      // IDs by the names given
	volumes     []string               // all that there were before
	shared      []container.MountPoint // what outlives a run, and may be others'
	healthcheck bool
	tty         bool
	stopping    stopping
	// alone: two containers at a time would get into each other's way.
	alone bool

	// success is the outcome of a workload that succeeds, its ending left aside.
	success string
	// second is how a run is started a second time, if twice says that it is to be.
	twice  bool
	second secondStart

	// deaf: it did not listen on the ports that the test names.
	deaf bool

	// kills: containers are killed when their test has passed, since how they would
	// end says nothing.
	kills bool
}

func newBench(o Options) (*bench, error) {
	self, err := owner(os.Getpid())
	if err != nil {
		return nil, err
	}
	success := exited("", int64(o.ExpectExit))
	if o.Test != "" {
		success = passed
	}
	return &bench{
		success: success, twice: o.SecondStart,
		docker: o.Docker, api: o.Docker.API(), observer: o.Observer, command: o.Command, test: o.Test, limits: limits{given: o.Timeout},
		// Two benches of one process must not share a label either.
		owner: self + "/" + rand.Text(), prefix: "capmon-verify-" + strings.ToLower(rand.Text()[:10]) + "-",
	}, nil
}

func (b *bench) nextName() string { return fmt.Sprint(b.prefix, b.count.Add(1)) }

// complete says the rest of how to create a container for a run.
func (b *bench) complete(how creation) creation {
	how.name, how.publish, how.pinned, how.volumes = b.nextName(), b.test != "", b.images, b.volumes
	how.labels = map[string]string{ownerLabel: b.owner, runLabel: how.name}
	return how
}

// clear removes what verifies that were killed have left behind.
func (b *bench) clear(ctx context.Context) (int, error) {
	return sweep(ctx, b.api, ownerLabel, func(label string, running bool) bool { return dead(label, b.owner, running) })
}

// close removes whatever is left of this bench.
func (b *bench) close(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), endTimeout)
	defer cancel()
	_, err := sweep(ctx, b.api, ownerLabel, func(label string, _ bool) bool { return label == b.owner })
	return err
}

// remove removes all that was made for a run, even if ctx has ended.
func (b *bench) remove(ctx context.Context, name string) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), endTimeout)
	defer cancel()
	_, err := sweep(ctx, b.api, runLabel+"="+name, func(string, bool) bool { return true })
	return err
}

// inspect learns what the command creates, without running it, and fails if that
// would touch what is others'.
func (b *bench) inspect(ctx context.Context, sharedVolumes bool) (err error) {
	if b.volumes, err = volumeNames(ctx, b.api); err != nil {
		return b.reason(ctx, err)
	}
	how := b.complete(creation{})
	id, err := b.command.create(ctx, b.api, how)
	if err != nil {
		return b.reason(ctx, err)
	}
	defer func() { err = errors.Join(err, b.remove(ctx, how.name)) }()
	all, err := b.api.ContainerList(ctx, container.ListOptions{All: true, Filters: labelled(runLabel + "=" + how.name)})
	if err != nil {
		return b.reason(ctx, fmt.Errorf("listing the new containers: %w", err))
	}
	b.images = make(map[string]string)
	var named []string
	for _, c := range all {
		created, err := b.api.ContainerInspect(ctx, c.ID)
		if err != nil {
			return b.reason(ctx, fmt.Errorf("inspecting the new container: %w", err))
		}
		b.images[created.Config.Image] = created.Image
		b.shared = append(b.shared, sharedMounts(created, b.volumes)...)
		b.alone = b.alone || created.HostConfig.NetworkMode.IsHost()
		if c.ID == id {
			b.learn(created)
			named = volumesOf(created.Config.Labels)
		}
	}
	b.alone = b.alone || len(b.shared) > 0
	if b.twice {
		b.second = secondStartOf(b.command, len(named)+len(b.shared) > 0)
	}
	info, err := b.docker.Inspect(ctx, id)
	if err != nil {
		return b.reason(ctx, err)
	}
	b.container.Image, b.container.ImageDigest = info.Image, info.ImageDigest
	b.container.Name = cmp.Or(b.container.Name, baseName(info.Image))
	if !sharedVolumes {
		return users(ctx, b.api, how.name, b.shared)
	}
	return nil
}

// learn takes down what the container on trial is.
func (b *bench) learn(created container.InspectResponse) {
	b.tty = created.Config.Tty
	b.stopping = stoppingOf(created.Config)
	if check := created.Config.Healthcheck; check != nil {
		b.healthcheck = len(check.Test) > 0 && check.Test[0] != "NONE"
	}
	b.container = profile.Container{Name: b.command.name(), ImageID: created.Image, User: created.Config.User, Labels: labelsOf(created)}
}

// labelsOf leaves out the labels that verify has given, directly or through compose, and the values
// that may be secret.
func labelsOf(created container.InspectResponse) map[string]string {
	labels := maps.Clone(created.Config.Labels)
	maps.DeleteFunc(labels, func(key, _ string) bool {
		return strings.HasPrefix(key, ownerLabel) || strings.HasPrefix(key, "com.docker.compose.")
	})
	return engine.KeptLabels(nil).Of(labels)
}

// seen is what capmon has recorded of a container, in the order of its starts. It goes by the name
// that the user gave, since ours mean nothing.
func (b *bench) seen(id string) ([]profile.Run, error) {
	all, err := b.observer.Profile()
	if err != nil {
		return nil, err
	}
	known := b.container
	known.ID = id
	var runs []profile.Run
	for _, run := range all.Runs {
		if run.Container.ID == id {
			run.Container = known
			runs = append(runs, run)
		}
	}
	return runs, nil
}

// baseName is a name for what was given none: redis for library/redis:7.
func baseName(image string) string {
	name := image[strings.LastIndexByte(image, '/')+1:]
	name, _, _ = strings.Cut(name, "@")
	name, _, _ = strings.Cut(name, ":")
	return name
}

package verify

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"
	"sync/atomic"
	"time"

	"github.com/docker/docker/api/types/container"
	"github.com/docker/docker/client"

	"github.com/capmon/capmon/internal/observe"
	"github.com/capmon/capmon/internal/profile"
)

// bench runs the workload under one set of capabilities after another, in
// containers of its own.
type bench struct {
	api      client.APIClient
	observer *observe.Observer
	command  Command
	test     string
	timeout  time.Duration

	owner  string // value of the label
	prefix string // of names
	count  atomic.Int64

	// What the container turned out to be.
	container   profile.Container
	storage     storage
	healthcheck bool
	tty         bool
	stopping    stopping
	// alone: two containers at a time would get into each other's way.
	alone bool

	// kills: containers are killed when their test has passed, since how they would
	// end says nothing.
	kills bool
}

func newBench(o Options) (*bench, error) {
	self, err := owner(os.Getpid())
	if err != nil {
		return nil, err
	}
	return &bench{
		api: o.Docker.API(), observer: o.Observer, command: o.Command, test: o.Test, timeout: o.Timeout,
		// Two benches of one process must not share a label either.
		owner: self + "/" + rand.Text(), prefix: "capmon-verify-" + strings.ToLower(rand.Text()[:10]) + "-",
	}, nil
}

func (b *bench) nextName() string { return fmt.Sprint(b.prefix, b.count.Add(1)) }

func (b *bench) labels() []string {
	labels := []string{ownerLabel + "=" + b.owner}
	if len(b.storage.fresh) > 0 {
		labels = append(labels, volumesLabel+"="+strings.Join(b.storage.fresh, ","))
	}
	return labels
}

// clear removes what verifies that were killed have left behind.
func (b *bench) clear(ctx context.Context) (int, error) {
	return sweep(ctx, b.api, func(label string, running bool) bool { return dead(label, b.owner, running) })
}

// close removes whatever is left of this bench.
func (b *bench) close(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), endTimeout)
	defer cancel()
	_, err := sweep(ctx, b.api, func(label string, _ bool) bool { return label == b.owner })
	return err
}

// inspect learns what the command creates, without running it, and fails if that
// would touch what is others'.
func (b *bench) inspect(ctx context.Context, sharedVolumes bool) (err error) {
	before, err := volumeNames(ctx, b.api)
	if err != nil {
		return b.reason(ctx, err)
	}
	id, err := b.create(ctx, creation{name: b.nextName(), labels: b.labels(), publish: b.test != ""})
	if err != nil {
		return b.reason(ctx, err)
	}
	defer func() { err = errors.Join(err, b.remove(ctx, id)) }()
	created, err := b.api.ContainerInspect(ctx, id)
	if err != nil {
		return b.reason(ctx, fmt.Errorf("inspecting the new container: %w", err))
	}
	b.storage = storageOf(created, before)
	b.tty = created.Config.Tty
	b.stopping = stoppingOf(created.Config)
	if check := created.Config.Healthcheck; check != nil {
		b.healthcheck = len(check.Test) > 0 && check.Test[0] != "NONE"
	}
	b.alone = created.HostConfig.NetworkMode.IsHost() || len(b.storage.fresh)+len(b.storage.kept) > 0
	b.container = profile.Container{Name: b.command.Name, ImageID: created.Image, User: created.Config.User, Labels: labelsOf(created)}
	if !sharedVolumes {
		return users(ctx, b.api, id, b.storage.kept)
	}
	return nil
}

func labelsOf(created container.InspectResponse) map[string]string {
	labels := make(map[string]string)
	for key, value := range created.Config.Labels {
		if key != ownerLabel && key != volumesLabel {
			labels[key] = value
		}
	}
	return labels
}

// seen is what capmon has recorded of a container. It goes by the name that the
// user gave, since ours mean nothing.
func (b *bench) seen(id string) (profile.Run, error) {
	all, err := b.observer.Profile()
	if err != nil {
		return profile.Run{}, err
	}
	i := slices.IndexFunc(all.Runs, func(run profile.Run) bool { return run.Container.ID == id })
	if i < 0 {
		return profile.Run{Container: b.container}, nil // it did not even begin to start
	}
	run := all.Runs[i]
	known := b.container
	known.ID, known.Image, known.ImageDigest = run.Container.ID, run.Container.Image, run.Container.ImageDigest
	if known.Name == "" {
		known.Name = baseName(run.Container.Image)
	}
	run.Container = known
	return run, nil
}

// baseName is a name for what was given none: redis for library/redis:7.
func baseName(image string) string {
	name := image[strings.LastIndexByte(image, '/')+1:]
	name, _, _ = strings.Cut(name, "@")
	name, _, _ = strings.Cut(name, ":")
	return name
}

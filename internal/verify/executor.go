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

// executor runs the workload under one set of capabilities after another, in containers of its own.
type executor struct {
	docker   *engine.Docker
	api      client.APIClient
	observer *observe.Observer
	command  Command
	test     string
	limits   limits

	owner  string // the value of the label
	prefix string // of names
	count  atomic.Int64

	// Properties of the container.
	container   profile.Container
	images      map[string]string      // IDs by name
	volumes     []string               // the names of all volumes that existed before
	shared      []container.MountPoint // mounts that outlive a run and that others may use
	healthcheck bool
	tty         bool
	stopping    stopConfig
	// exclusive: two containers at the same time would conflict.
	exclusive bool

	// success is the outcome of a successful workload, without the end of its container.
	success string
	// second is the kind of second start, if wantsSecondStart.
	wantsSecondStart bool
	second           secondStart

	// ignoresPorts: the container did not listen on the ports that the test names.
	ignoresPorts bool

	// skipsStop: containers are killed when their test has passed, because how they end is not compared.
	skipsStop bool
}

func newExecutor(o Options) (*executor, error) {
	self, err := owner(os.Getpid())
	if err != nil {
		return nil, err
	}
	success := exited("", int64(o.ExpectExit))
	if o.Test != "" {
		success = passed
	}
	return &executor{
		success: success, wantsSecondStart: o.SecondStart,
		docker: o.Docker, api: o.Docker.API(), observer: o.Observer, command: o.Command, test: o.Test, limits: limits{user: o.Timeout},
		// Two executors in one process need different labels as well.
		owner: self + "/" + rand.Text(), prefix: "capmon-verify-" + strings.ToLower(rand.Text()[:10]) + "-",
	}, nil
}

func (x *executor) nextName() string { return fmt.Sprint(x.prefix, x.count.Add(1)) }

// complete sets the remaining fields for a run.
func (x *executor) complete(spec containerSpec) containerSpec {
	spec.name, spec.publish, spec.pinned, spec.volumes = x.nextName(), x.test != "", x.images, x.volumes
	spec.labels = map[string]string{ownerLabel: x.owner, runLabel: spec.name}
	return spec
}

// removeStale removes what killed verify processes have left. It returns the number of containers.
func (x *executor) removeStale(ctx context.Context) (int, error) {
	return removeLabelled(ctx, x.api, ownerLabel, func(label string, running bool) bool { return ownerHasEnded(label, x.owner, running) })
}

// close removes everything that this executor has created.
func (x *executor) close(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), endTimeout)
	defer cancel()
	_, err := removeLabelled(ctx, x.api, ownerLabel, func(label string, _ bool) bool { return label == x.owner })
	return err
}

// remove removes everything that was created for a run, even if ctx has ended.
func (x *executor) remove(ctx context.Context, name string) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), endTimeout)
	defer cancel()
	_, err := removeLabelled(ctx, x.api, runLabel+"="+name, func(string, bool) bool { return true })
	return err
}

// inspect creates the command's containers without running them, to read their properties. It returns an error if a run
// would affect other containers.
func (x *executor) inspect(ctx context.Context, sharedVolumes bool) (err error) {
	if x.volumes, err = volumeNames(ctx, x.api); err != nil {
		return x.explain(ctx, err)
	}
	spec := x.complete(containerSpec{})
	id, err := x.command.create(ctx, x.api, spec)
	if err != nil {
		return x.explain(ctx, err)
	}
	defer func() { err = errors.Join(err, x.remove(ctx, spec.name)) }()
	all, err := x.api.ContainerList(ctx, container.ListOptions{All: true, Filters: labelled(runLabel + "=" + spec.name)})
	if err != nil {
		return x.explain(ctx, fmt.Errorf("listing the new containers: %w", err))
	}
	x.images = make(map[string]string)
	var named []string
	for _, c := range all {
		created, err := x.api.ContainerInspect(ctx, c.ID)
		if err != nil {
			return x.explain(ctx, fmt.Errorf("inspecting the new container: %w", err))
		}
		x.images[created.Config.Image] = created.Image
		x.shared = append(x.shared, sharedMounts(created, x.volumes)...)
		x.exclusive = x.exclusive || created.HostConfig.NetworkMode.IsHost()
		if c.ID == id {
			x.describe(created)
			named = volumesOf(created.Config.Labels)
		}
	}
	x.exclusive = x.exclusive || len(x.shared) > 0
	if x.wantsSecondStart {
		x.second = secondStartOf(x.command, len(named)+len(x.shared) > 0)
	}
	info, err := x.docker.Inspect(ctx, id)
	if err != nil {
		return x.explain(ctx, err)
	}
	x.container.Image, x.container.ImageDigest = info.Image, info.ImageDigest
	x.container.Name = cmp.Or(x.container.Name, baseName(info.Image))
	if !sharedVolumes {
		return checkOtherUsers(ctx, x.api, spec.name, x.shared)
	}
	return nil
}

// describe records the properties of the container to verify.
func (x *executor) describe(created container.InspectResponse) {
	x.tty = created.Config.Tty
	x.stopping = stopConfigOf(created.Config)
	if check := created.Config.Healthcheck; check != nil {
		x.healthcheck = len(check.Test) > 0 && check.Test[0] != "NONE"
	}
	x.container = profile.Container{Name: x.command.name(), ImageID: created.Image, User: created.Config.User, Labels: labelsOf(created)}
}

// labelsOf returns the labels of the container, without those that verify or compose has set, and without values that
// may be secret.
func labelsOf(created container.InspectResponse) map[string]string {
	labels := maps.Clone(created.Config.Labels)
	maps.DeleteFunc(labels, func(key, _ string) bool {
		return strings.HasPrefix(key, ownerLabel) || strings.HasPrefix(key, "com.docker.compose.")
	})
	return engine.KeptLabels(nil).Of(labels)
}

// recordedRuns returns the recorded runs of a container, in the order of its starts. They have the name that the user
// gave, because the names that verify gives have no meaning for the user.
func (x *executor) recordedRuns(id string) ([]profile.Run, error) {
	all, err := x.observer.Profile()
	if err != nil {
		return nil, err
	}
	known := x.container
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

// baseName returns a name for a container without one: redis for library/redis:7.
func baseName(image string) string {
	name := image[strings.LastIndexByte(image, '/')+1:]
	name, _, _ = strings.Cut(name, "@")
	name, _, _ = strings.Cut(name, ":")
	return name
}

package observe

import (
	"context"
	"errors"
	"os"
	"slices"
	"sync"
	"sync/atomic"

	"go.uber.org/zap"

	"github.com/capmon/capmon/internal/bundle"
	"github.com/capmon/capmon/internal/container"
	"github.com/capmon/capmon/internal/containerid"
	"github.com/capmon/capmon/monitor"
)

// maxAnnouncements is the number of new containers whose cgroups are requested at the same time.
const maxAnnouncements = 16

// announcements are the requests to the engine for the cgroups of new containers. The kernel does not recognize all of
// these cgroups by their names. So capmon tells it their paths before the runtime makes them.
type announcements struct {
	slots   chan struct{} // has one element for each request
	evicted atomic.Bool   // the warning about too many announcements was logged

	mu      sync.Mutex
	pending map[string]*announcement // by container ID
}

// announcement is one request.
type announcement struct {
	mu      sync.Mutex // held while capmon tells the kernel
	removed bool       // the container was removed since
}

func newAnnouncements() *announcements {
	return &announcements{slots: make(chan struct{}, maxAnnouncements), pending: make(map[string]*announcement)}
}

// begin records that the cgroup of a container is requested.
func (a *announcements) begin(id string) *announcement {
	a.mu.Lock()
	defer a.mu.Unlock()
	one := &announcement{}
	a.pending[id] = one
	return one
}

// end is called when a request has ended.
func (a *announcements) end(id string, one *announcement) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.pending[id] == one {
		delete(a.pending, id)
	}
}

// cancel makes the answer to a request ineffective, if there is a request for the container.
func (a *announcements) cancel(id string) {
	a.mu.Lock()
	one := a.pending[id]
	delete(a.pending, id)
	a.mu.Unlock()
	if one != nil {
		one.mu.Lock()
		defer one.mu.Unlock()
		one.removed = true
	}
}

// expectNew makes the kernel expect the cgroup of a container that the engine has just reported as new. The runtime
// makes the cgroup a bit later.
func (o *Observer) expectNew(ctx context.Context, event container.Event) {
	engine, ok := o.engine.(container.Announcer)
	if !ok || event.Engine != bundle.Containerd {
		return
	}
	o.announcements.cancel(event.ID)
	one := o.announcements.begin(event.ID)
	o.done.Go(func() {
		defer o.announcements.end(event.ID, one)
		o.announcements.slots <- struct{}{}
		defer func() { <-o.announcements.slots }()
		info, err := engine.Announced(ctx, event.ID)
		if err != nil {
			o.log.Debug("requesting the cgroup of a new container failed", zap.String("id", event.ID), zap.Error(err))
			return
		}
		one.mu.Lock()
		defer one.mu.Unlock()
		if !one.removed {
			o.expect(info)
		}
	})
}

// expect makes the kernel recognize the cgroup of a container when the runtime makes it. It does nothing if the kernel
// recognizes the cgroup by its name.
func (o *Observer) expect(info container.Info) {
	if info.Cgroup == "" || containerid.IsInCgroupName(info.Cgroup, info.ID) {
		return
	}
	switch err := o.monitor.ExpectContainer(info.Cgroup, info.ID); {
	case errors.Is(err, os.ErrInvalid):
		o.log.Debug("the kernel cannot expect a container", zap.String("id", info.ID), zap.Error(err))
	case err == nil:
		o.log.Debug("the kernel expects a container", zap.String("id", info.ID), zap.String("cgroup", info.Cgroup))
	case !errors.Is(err, monitor.ErrClosed):
		o.log.Warn("announcing a container to the kernel failed", zap.String("id", info.ID), zap.Error(err))
	}
	if o.monitor.EvictedExpected() > 0 && !o.announcements.evicted.Swap(true) {
		o.log.Warn("there are more containers than capmon can announce to the kernel; it may be too late for the start of some: raise --max-containers")
	}
}

// forgetExpected ends the expectation of a container that the engine has removed.
func (o *Observer) forgetExpected(id string) {
	o.announcements.cancel(id)
	if err := o.monitor.ForgetExpected(id); err != nil {
		o.log.Debug("ending the announcement of a container failed", zap.String("id", id), zap.Error(err))
	}
}

// expectAll makes the kernel expect the containers that the engine lists. An engine that answers again has not reported
// all of them in its events.
func (o *Observer) expectAll(ctx context.Context) {
	all, err := o.list(ctx)
	if err != nil {
		o.log.Debug("listing the containers failed", zap.Error(err))
		return
	}
	o.expectListed(all)
}

// expectListed makes the kernel expect all containers of a list: they can be started again.
func (o *Observer) expectListed(all []container.Info) {
	for _, info := range all {
		o.expect(info)
	}
}

// forgetUnlisted ends the expectations of containers that were removed while no events were received. before are the
// containers that the kernel expected before the engine made the list.
func (o *Observer) forgetUnlisted(before []string, all []container.Info) {
	listed := make(map[string]bool)
	for _, info := range all {
		listed[info.ID] = true
	}
	gone := slices.DeleteFunc(before, func(id string) bool { return listed[id] })
	if err := o.monitor.ForgetExpected(gone...); err != nil {
		o.log.Debug("ending the announcements of containers failed", zap.Strings("ids", gone), zap.Error(err))
	}
}

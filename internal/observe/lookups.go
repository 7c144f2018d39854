package observe

import (
	"cmp"
	"context"
	"errors"
	"sync"
	"time"

	"go.uber.org/zap"

	"github.com/capmon/capmon/internal/container"
	"github.com/capmon/capmon/internal/untrustedfs"
	"github.com/capmon/capmon/monitor"
)

const (
	// restTime is how long the lookups for a profile may take together. Those that are missing then are
	// left to the next one.
	restTime = 20 * time.Second
	// atATime is of how many containers files are looked up at the same time.
	atATime = 4
	// soon is how long the news of a check waits for the file system of its container.
	soon = 100 * time.Millisecond
)

// ask asks a container's file system. It is false if that does not have the file, or does not
// answer.
func (o *Observer) ask(ctx context.Context, cgroup uint64, request untrustedfs.Request) (untrustedfs.Answer, bool) {
	answer, err := o.lookups.Do(ctx, cgroup, request)
	if err != nil && ctx.Err() == nil && !errors.Is(err, untrustedfs.ErrSilent) {
		o.log.Debug("looking up a file of a container", zap.Error(err))
	}
	return answer, err == nil && answer.Found
}

// tellSilent tells that the file system of a container does not answer.
func (o *Observer) tellSilent(cgroup uint64) {
	o.mu.Lock()
	defer o.mu.Unlock()
	place, _ := o.place(cgroup)
	id, _ := container.IDFromCgroup(place.Name)
	o.log.Warn("a container's file system does not answer: capmon does not ask it any more, and does not know which capabilities its programs carry",
		zap.String("container", cmp.Or(o.known.infos[id].Name, id, o.where(cgroup))))
}

// lookUpRest tries once more for the files that could not be looked up when they were used: the
// engine may not have told by then where they are.
func (o *Observer) lookUpRest(containers []monitor.Container) {
	ctx, cancel := context.WithTimeout(context.Background(), restTime)
	defer cancel()
	var looking sync.WaitGroup
	room := make(chan struct{}, atATime)
	for _, c := range containers {
		room <- struct{}{}
		looking.Go(func() {
			defer func() { <-room }()
			for _, execution := range c.Executions {
				o.examine(ctx, c.ID, c.Cgroup, execution)
			}
			for _, use := range c.Files {
				o.find(ctx, c.ID, c.Cgroup, use)
			}
		})
	}
	looking.Wait()
}

// tellUnread tells of cgroups that cannot be read, once of the same.
func (o *Observer) tellUnread() {
	err := o.monitor.Unread()
	o.mu.Lock()
	defer o.mu.Unlock()
	if err == nil || err.Error() == o.unread {
		return
	}
	o.unread = err.Error()
	o.log.Warn("cgroups cannot be read: containers in them may be missing or taken for ended", zap.Error(err))
}

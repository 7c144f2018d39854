package observe

import (
	"cmp"
	"context"
	"errors"
	"sync"
	"time"

	"go.uber.org/zap"

	"github.com/capmon/capmon/internal/containerid"
	"github.com/capmon/capmon/internal/kernel"
	"github.com/capmon/capmon/internal/untrustedfs"
	"github.com/capmon/capmon/monitor"
)

const (
	// profileLookupTimeout is the time limit of all lookups for one profile. The next profile looks up the files that
	// are still missing then.
	profileLookupTimeout = 20 * time.Second
	// parallelLookups is the number of containers whose files are looked up at the same time.
	parallelLookups = 4
	// checkLookupTimeout is the time limit of a lookup that delays the report of a check.
	checkLookupTimeout = 100 * time.Millisecond
	// maxFileJobs is the number of files that may wait to be inspected.
	maxFileJobs = 8192
)

// fileLookups reads the file systems of containers. It is safe for concurrent use.
type fileLookups struct {
	*untrustedfs.Pool
	cgroups kernel.Cgroups
	jobs    chan func() // inspections of files that wait while checks and new containers have precedence
}

func newFileLookups(cgroups kernel.Cgroups, unresponsive func(cgroup uint64)) fileLookups {
	return fileLookups{Pool: untrustedfs.NewPool(unresponsive), cgroups: cgroups, jobs: make(chan func(), maxFileJobs)}
}

// queue queues a job, unless too many jobs wait.
func (l *fileLookups) queue(job func()) {
	select {
	case l.jobs <- job:
	default:
	}
}

// mustQueue queues a job. If too many jobs wait, it waits for one to finish, or until ctx ends.
func (l *fileLookups) mustQueue(ctx context.Context, job func()) {
	select {
	case l.jobs <- job:
	case <-ctx.Done():
	}
}

// follow returns a function that runs the queued jobs until ctx ends.
func (l *fileLookups) follow(ctx context.Context) func() {
	return func() {
		for {
			select {
			case <-ctx.Done():
				return
			case job := <-l.jobs:
				job()
			}
		}
	}
}

// lookUp requests something from a container's file system. It returns false if the file system does not have the file
// or does not answer.
func (o *Observer) lookUp(ctx context.Context, cgroup uint64, request untrustedfs.Request) (untrustedfs.Answer, bool) {
	answer, err := o.lookups.Do(ctx, cgroup, request)
	if err != nil && ctx.Err() == nil && !errors.Is(err, untrustedfs.ErrUnresponsive) {
		o.log.Debug("looking up a file of a container failed", zap.Error(err))
	}
	return answer, err == nil && answer.Found
}

// logSilentFileSystem logs that the file system of a container does not answer.
func (o *Observer) logSilentFileSystem(cgroup uint64) {
	o.mu.Lock()
	defer o.mu.Unlock()
	cgroupInfo, _ := o.cgroupInfo(cgroup)
	id := cmp.Or(o.owners.confirmed[cgroup], cgroupInfo.Name)
	if o.owners.confirmed[cgroup] == "" && !containerid.IsQualified(id) {
		id, _ = containerid.FromCgroup(id)
	}
	o.log.Warn("a container's file system does not answer: capmon no longer reads it, and does not know the file capabilities of its programs",
		zap.String("container", cmp.Or(o.fromEngine.infos[id].Name, id, o.describeCgroup(cgroup))))
}

// lookUpMissingFiles looks up the files that could not be looked up when they were used. At that time the engine may
// not have reported where they are.
func (o *Observer) lookUpMissingFiles(containers []monitor.ContainerRecord) {
	ctx, cancel := context.WithTimeout(context.Background(), profileLookupTimeout)
	defer cancel()
	var lookups sync.WaitGroup
	slots := make(chan struct{}, parallelLookups)
	for _, c := range containers {
		slots <- struct{}{}
		lookups.Go(func() {
			defer func() { <-slots }()
			for _, execution := range c.Executions {
				o.readFileCapabilities(ctx, c.ID, c.Cgroup, execution)
			}
			for _, use := range c.Files {
				o.resolvePath(ctx, c.ID, c.Cgroup, use)
			}
		})
	}
	lookups.Wait()
}

// logUnreadCgroups logs that cgroups cannot be read. It logs each error once.
func (o *Observer) logUnreadCgroups() {
	err := o.monitor.UnreadCgroups()
	o.mu.Lock()
	defer o.mu.Unlock()
	if err == nil || err.Error() == o.owners.unread {
		return
	}
	o.owners.unread = err.Error()
	o.log.Warn("reading some cgroups failed; containers in them may be missing, or capmon may report them as ended", zap.Error(err))
}

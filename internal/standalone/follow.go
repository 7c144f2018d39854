package standalone

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path"
	"strings"
	"sync"
	"time"

	"github.com/fsnotify/fsnotify"

	"github.com/capmon/capmon/internal/bundle"
)

// follower calls found for containers as soon as they appear.
type follower struct {
	sources  []source
	watcher  *fsnotify.Watcher
	found    func(bundle.State)
	missed   func(id string)
	pending  map[string]bool // the directories in which the runtime has not stored the first process yet
	awaiting sync.WaitGroup
	slots    chan struct{} // has one element for each container whose first process is awaited
}

const (
	// maxAwaited is the number of containers whose first processes are awaited at the same time.
	maxAwaited = 64
	// awaitPoll is how often a container is read until it has a process, and awaitTime how long.
	awaitPoll, awaitTime = 2 * time.Millisecond, 10 * time.Second
)

// Follow calls found for each container that appears until ctx ends: first with Pid 0 if what the runtime will do is
// known, and then with the first process. Bounding is nil until the grants are known. Follow may call found more than
// once with the same state, also at the same time for different containers. Follow calls missed if a container has
// ended before Follow could read its first process. It returns an error if the kernel does not report new files.
func (f *Finder) Follow(ctx context.Context, found func(bundle.State), missed func(id string)) error {
	watcher, err := fsnotify.NewWatcher()
	if err != nil {
		return fmt.Errorf("following the directories of runtimes: %w", err)
	}
	defer watcher.Close()
	follow := &follower{sources: f.sources, watcher: watcher, found: found, missed: missed, pending: make(map[string]bool), slots: make(chan struct{}, maxAwaited)}
	defer follow.awaiting.Wait()
	for _, s := range f.sources {
		follow.watch(ctx, s)
	}
	for {
		select {
		case <-ctx.Done():
			return nil
		case event := <-watcher.Events:
			follow.handle(ctx, event)
		case lost := <-watcher.Errors:
			if lost == nil {
				return nil // the watcher was closed
			}
			for _, s := range f.sources {
				follow.watch(ctx, s)
			}
		}
	}
}

// watch watches the root directory of a source, and examines its entries. If the directory does not exist, watch
// watches the nearest one above it.
func (f *follower) watch(ctx context.Context, s source) {
	for range maxDepth {
		watched := f.watchNearest(s.root())
		if watched == s.root() {
			break
		}
		// The next directory may have been made before the kernel reported new ones.
		if _, err := os.Lstat(nextBelow(watched, s.root())); err != nil {
			return
		}
	}
	for _, entry := range entries(s) {
		f.examine(ctx, s, entry)
	}
}

// maxDepth is the number of directories that may appear while watch looks for the nearest one.
const maxDepth = 16

// watchNearest watches a directory, or the nearest one above it that can be watched, and returns it.
func (f *follower) watchNearest(directory string) string {
	for directory != "/" && f.watcher.Add(directory) != nil {
		directory = path.Dir(directory)
	}
	return directory
}

// nextBelow returns the directory below a directory on the way to another one.
func nextBelow(directory, to string) string {
	rest := strings.TrimPrefix(strings.TrimPrefix(to, directory), "/")
	next, _, _ := strings.Cut(rest, "/")
	return path.Join(directory, next)
}

// handle handles a change in a watched directory.
func (f *follower) handle(ctx context.Context, event fsnotify.Event) {
	made, changed := event.Has(fsnotify.Create), event.Has(fsnotify.Create) || event.Has(fsnotify.Write)
	for _, s := range f.sources {
		switch {
		case made && isAtOrAbove(event.Name, s.root()) || event.Has(fsnotify.Remove) && event.Name == s.root():
			f.watch(ctx, s)
		case event.Has(fsnotify.Remove) && f.pending[event.Name]:
			delete(f.pending, event.Name)
			f.missed(event.Name)
		case made && path.Dir(event.Name) == s.root() && s.has(path.Base(event.Name)):
			f.examine(ctx, s, event.Name)
		case changed && s.notifies() && path.Dir(path.Dir(event.Name)) == s.root():
			f.examine(ctx, s, path.Dir(event.Name))
		}
	}
}

func isAtOrAbove(directory, other string) bool {
	return directory == other || strings.HasPrefix(other, directory+"/")
}

// examine reads a container, and awaits its first process if it does not have one yet.
func (f *follower) examine(ctx context.Context, s source, entry string) {
	if !s.notifies() {
		f.await(ctx, s, entry)
		return
	}
	f.pending[entry] = true
	state, err := s.read(entry)
	if !isFinal(state, err) {
		_ = f.watcher.Add(entry) // it may have vanished
		state, err = s.read(entry)
	}
	if isFinal(state, err) {
		delete(f.pending, entry)
		_ = f.watcher.Remove(entry) // it may not be watched
	}
	if err == nil {
		f.found(state)
	}
}

// isFinal reports whether the runtime has stored the first process of a container. Otherwise the error can be about a
// file that the runtime is writing.
func isFinal(state bundle.State, err error) bool {
	return err == nil && state.Pid != 0 || errors.Is(err, bundle.ErrEnded)
}

// await calls found when a container has a process, and again when the grants are known.
func (f *follower) await(ctx context.Context, s source, entry string) {
	select {
	case f.slots <- struct{}{}:
	default:
		return // the next list has it
	}
	f.awaiting.Go(func() {
		defer func() { <-f.slots }()
		ctx, cancel := context.WithTimeout(ctx, awaitTime)
		defer cancel()
		for pid := 0; ctx.Err() == nil; {
			state, err := s.read(entry)
			if err == nil && (state.Pid != pid || state.Bounding != nil) {
				f.found(state)
			}
			if pid = state.Pid; err == nil && state.Bounding != nil {
				return
			}
			if _, gone := os.Lstat(entry); gone != nil || err != nil && !errors.Is(err, os.ErrNotExist) {
				return
			}
			select {
			case <-ctx.Done():
			case <-time.After(awaitPoll):
			}
		}
	})
}

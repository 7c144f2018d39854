package container

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/containerd/containerd/api/services/snapshots/v1"
	"github.com/docker/docker/api/types/storage"
	"github.com/docker/docker/api/types/system"
	"github.com/moby/sys/mountinfo"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"

	"github.com/capmon/capmon/internal/kernel"
)

const (
	// snapshotterType is Docker's name for storage drivers that are containerd's.
	snapshotterType = "io.containerd.snapshotter.v1"
	// snapshotTimeout is the time limit of one request to containerd.
	snapshotTimeout = 2 * time.Second
	// snapshotPause is the time for which capmon sends no requests to a containerd that did not answer.
	snapshotPause = 10 * time.Second
)

// imageStore reads the layers of containers if Docker keeps images in containerd. The engine's API does not list the
// layers then. It is safe for concurrent use.
type imageStore struct {
	snapshotter string // the engine's storage driver
	address     string // path of containerd's socket, as the engine sees it
	namespace   string
	mounts      string     // the directory below which the engine mounts root file systems
	engine      func() int // the engine's process ID (Engine.PID)
	connection  *grpc.ClientConn

	mu     sync.Mutex
	failed time.Time // when containerd last did not answer; zero if it always has
}

// outdated reports whether containerd has failed to answer and the pause after that is over.
func (s *imageStore) outdated() bool {
	if s == nil {
		return false
	}
	failed := s.lastFailure()
	return !failed.IsZero() && time.Since(failed) >= snapshotPause
}

// newImageStore returns nil if the engine does not keep images in containerd.
func newImageStore(info system.Info, engine func() int) (*imageStore, error) {
	if !slices.Contains(info.DriverStatus, [2]string{"driver-type", snapshotterType}) {
		return nil, nil
	}
	store := &imageStore{snapshotter: info.Driver, mounts: filepath.Join(info.DockerRootDir, "rootfs", info.Driver), engine: engine}
	if info.Containerd == nil { // before Docker 27
		return store, nil
	}
	store.address, store.namespace = info.Containerd.Address, info.Containerd.Namespaces.Containers
	var err error
	store.connection, err = grpc.NewClient("passthrough:///containerd",
		grpc.WithTransportCredentials(insecure.NewCredentials()),
		grpc.WithContextDialer(func(ctx context.Context, _ string) (net.Conn, error) { return store.dial(ctx) }))
	if err != nil {
		return nil, fmt.Errorf("creating a containerd client: %w", err)
	}
	return store, nil
}

// engineProc returns the engine's view of the files (kernel.ProcDirectory). Call engineProc at each use: after a
// restart of the engine, a process of a container may have the engine's old process ID.
func (s *imageStore) engineProc() (string, error) {
	pid := s.engine()
	if pid == 0 {
		return "", errors.New("the engine's process is not visible in capmon's process namespace")
	}
	return kernel.ProcDirectory(pid), nil
}

// dial connects to containerd's socket by its path as the engine sees it.
func (s *imageStore) dial(ctx context.Context) (net.Conn, error) {
	engineProc, err := s.engineProc()
	if err != nil {
		return nil, err
	}
	walker, err := kernel.NewWalker(filepath.Join(engineProc, "root"))
	if err != nil {
		return nil, err
	}
	defer walker.Close()
	walk, err := walker.Go(s.address, true) // /var/run is a link
	if err != nil {
		return nil, err
	}
	if walk.File == nil {
		return nil, os.ErrNotExist
	}
	// The path below /proc may be too long for a socket's address.
	var dialer net.Dialer
	return dialer.DialContext(ctx, "unix", fmt.Sprintf("/proc/self/fd/%d", walker.File().Fd()))
}

// layers returns the layers of a container. If containerd does not answer, they are only known while the container's
// root file system is mounted.
func (s *imageStore) layers(ctx context.Context, id string) []string {
	if layers, err := s.request(ctx, id); err == nil {
		return layers
	}
	return s.mounted(id)
}

// request requests the layers from containerd. It returns an error if containerd did not answer.
func (s *imageStore) request(ctx context.Context, id string) ([]string, error) {
	if s.connection == nil {
		return nil, errors.New("the engine does not report the address of its containerd")
	}
	if !s.lastFailure().IsZero() {
		return nil, errors.New("containerd did not answer the previous request, and capmon waits before it tries again")
	}
	requestCtx, cancel := context.WithTimeout(metadata.AppendToOutgoingContext(ctx, "containerd-namespace", s.namespace), snapshotTimeout)
	defer cancel()
	answer, err := snapshots.NewSnapshotsClient(s.connection).Mounts(requestCtx, &snapshots.MountsRequest{Snapshotter: s.snapshotter, Key: id})
	if status.Code(err) == codes.NotFound {
		return nil, nil
	}
	if err != nil {
		if ctx.Err() == nil && unanswered(err) {
			s.mu.Lock()
			defer s.mu.Unlock()
			s.failed = time.Now()
		}
		return nil, fmt.Errorf("requesting mounts from containerd at %s: %s", s.address, status.Convert(err).Message())
	}
	for _, mount := range answer.GetMounts() {
		if mount.GetType() == "overlay" {
			return overlayLayers(mount.GetOptions()), nil
		}
	}
	return nil, nil
}

// unanswered reports whether an error means that containerd hangs or does not run. Other errors are
// containerd's answer about one container.
func unanswered(err error) bool {
	code := status.Code(err)
	return code == codes.Unavailable || code == codes.DeadlineExceeded
}

func (s *imageStore) lastFailure() time.Time {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.failed
}

// mounted reads the layers from the engine's mount table, which no container can change.
func (s *imageStore) mounted(id string) []string {
	engineProc, err := s.engineProc()
	if err != nil {
		return nil
	}
	table, err := os.Open(filepath.Join(engineProc, "mountinfo"))
	if err != nil {
		return nil
	}
	defer table.Close()
	mounts, err := mountinfo.GetMountsFromReader(table, func(mount *mountinfo.Info) (skip, stop bool) {
		return mount.FSType != "overlay" || mount.Mountpoint != filepath.Join(s.mounts, id), false
	})
	if err != nil || len(mounts) == 0 {
		return nil
	}
	options := strings.Split(mounts[len(mounts)-1].VFSOptions, ",")
	for i, option := range options {
		options[i] = unescape(option)
	}
	return overlayLayers(options)
}

var escaped = regexp.MustCompile(`\\[0-7]{3}`)

// unescape decodes the octal escapes that the kernel uses for spaces, commas and other characters in the options of a
// mount (seq_show_option, include/linux/seq_file.h).
func unescape(option string) string {
	return escaped.ReplaceAllStringFunc(option, func(code string) string {
		value, err := strconv.ParseUint(code[1:], 8, 8)
		if err != nil {
			return code
		}
		return string([]byte{byte(value)})
	})
}

func (s *imageStore) close() error {
	if s == nil || s.connection == nil {
		return nil
	}
	return s.connection.Close()
}

// overlayLayers returns the layers in the options of an overlayfs mount. It returns nil if the paths are relative to
// the directory of the process that mounted it.
func overlayLayers(options []string) []string {
	layers := []string{""}
	for _, option := range options {
		switch name, value, _ := strings.Cut(option, "="); name {
		case "upperdir":
			layers[0] = value
		case "lowerdir":
			layers = append(layers, strings.Split(value, ":")...)
		case "lowerdir+":
			layers = append(layers, value)
		}
	}
	return absolute(layers)
}

// absolute returns the layers if all of them are absolute paths, and nil otherwise: an empty path would mean
// the root directory of the host.
func absolute(layers []string) []string {
	if slices.ContainsFunc(layers, func(layer string) bool { return !filepath.IsAbs(layer) }) {
		return nil
	}
	return layers
}

// imageStores has the current image store, if the engine's storage driver is containerd's.
type imageStores struct {
	mu     sync.Mutex
	driver string
	store  *imageStore // nil if the driver is not containerd's
	failed time.Time   // when the last request to the engine about its image store failed
}

func (s *imageStores) close() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.store.close()
}

// imageStore returns the image store of a storage driver. If the driver has changed, or if containerd does not answer,
// it asks the engine again: the engine may have been restarted, and containerd may have another address.
func (d *Docker) imageStore(ctx context.Context, driver string) (*imageStore, error) {
	s := &d.stores
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.driver == driver && !s.store.outdated() {
		return s.store, nil
	}
	if time.Since(s.failed) < snapshotPause {
		return nil, errors.New("the engine did not answer the previous request about its image store, and capmon waits before it tries again")
	}
	store, err := d.openImageStore(ctx)
	if err != nil {
		if ctx.Err() == nil {
			s.failed = time.Now()
		}
		return nil, err
	}
	_ = s.store.close()
	s.driver, s.store = driver, store
	return store, nil
}

// openImageStore returns the engine's image store, or nil if the engine does not keep images in containerd on this
// machine.
func (d *Docker) openImageStore(ctx context.Context) (*imageStore, error) {
	if !strings.HasPrefix(d.endpoint, "unix://") {
		return nil, nil
	}
	ctx, cancel := context.WithTimeout(ctx, snapshotTimeout)
	defer cancel()
	info, err := d.client.Info(ctx)
	if err != nil {
		return nil, fmt.Errorf("requesting Docker's storage driver: %w", err)
	}
	return newImageStore(info, d.PID)
}

// layersOf returns the layers of a container's root file system, the writable one first.
func (d *Docker) layersOf(ctx context.Context, id string, driver storage.DriverData) []string {
	if upper := driver.Data["UpperDir"]; upper != "" { // overlay2
		return absolute(append([]string{upper}, strings.Split(driver.Data["LowerDir"], ":")...))
	}
	store, err := d.imageStore(ctx, driver.Name)
	if err != nil || store == nil {
		return nil
	}
	return store.layers(ctx, id)
}

// CheckLayers returns an error if this process cannot get the layers of containers from the engine. capmon then cannot
// read files of containers that have ended.
func (d *Docker) CheckLayers(ctx context.Context) error {
	store, err := d.openImageStore(ctx)
	if err != nil || store == nil {
		return err
	}
	defer store.close()
	_, err = store.request(ctx, "capmon")
	return err
}

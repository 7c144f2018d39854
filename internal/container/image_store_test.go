package container

import (
	"context"
	"encoding/json"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"

	"github.com/containerd/containerd/api/services/snapshots/v1"
	"github.com/containerd/containerd/api/types"
	"github.com/docker/docker/api/types/storage"
	"github.com/docker/docker/api/types/system"
	"golang.org/x/sys/unix"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"

	"github.com/capmon/capmon/internal/testutil"
)

// fakeContainerd returns the mounts that a test wants.
type fakeContainerd struct {
	snapshots.UnimplementedSnapshotsServer
	mounts func(ctx context.Context, key string) ([]*types.Mount, error)
}

func (f fakeContainerd) Mounts(ctx context.Context, request *snapshots.MountsRequest) (*snapshots.MountsResponse, error) {
	header, _ := metadata.FromIncomingContext(ctx)
	if request.GetSnapshotter() != "overlayfs" || !slices.Equal(header.Get("containerd-namespace"), []string{"moby"}) {
		return nil, status.Errorf(codes.InvalidArgument, "snapshotter %s, %v", request.GetSnapshotter(), header)
	}
	mounts, err := f.mounts(ctx, request.GetKey())
	return &snapshots.MountsResponse{Mounts: mounts}, err
}

// serveContainerd starts a fake containerd and returns its address.
func serveContainerd(t *testing.T, mounts func(context.Context, string) ([]*types.Mount, error)) string {
	t.Helper()
	address := filepath.Join(t.TempDir(), "containerd.sock")
	serveContainerdAt(t, address, mounts)
	return address
}

func serveContainerdAt(t *testing.T, address string, mounts func(context.Context, string) ([]*types.Mount, error)) *grpc.Server {
	t.Helper()
	listener, err := net.Listen("unix", address)
	if err != nil {
		t.Fatal(err)
	}
	server := grpc.NewServer()
	snapshots.RegisterSnapshotsServer(server, fakeContainerd{mounts: mounts})
	go func() { _ = server.Serve(listener) }()
	t.Cleanup(server.Stop)
	return server
}

// engineWithImageStore returns an engine whose containers are all named by their IDs.
func engineWithImageStore(t *testing.T, address, root string) *Docker {
	t.Helper()
	docker := fake(t, func(w http.ResponseWriter, r *http.Request) {
		var answer any
		if _, id, inspects := strings.Cut(r.URL.Path, "/containers/"); inspects {
			answer = map[string]any{
				"Id": strings.TrimSuffix(id, "/json"), "Config": map[string]any{}, "HostConfig": map[string]any{}, "State": map[string]any{},
				"GraphDriver": map[string]any{"Name": "overlayfs"},
			}
		} else {
			answer = map[string]any{
				"Driver": "overlayfs", "DriverStatus": [][2]string{{"driver-type", "io.containerd.snapshotter.v1"}}, "DockerRootDir": root,
				"Containerd": map[string]any{"Address": address, "Namespaces": map[string]any{"Containers": "moby"}},
			}
		}
		_ = json.NewEncoder(w).Encode(answer)
	})
	t.Cleanup(func() { _ = docker.Close() })
	return docker
}

func TestLayersComeFromTheImageStore(t *testing.T) {
	address := serveContainerd(t, func(_ context.Context, key string) ([]*types.Mount, error) {
		switch key {
		case "overlay":
			return []*types.Mount{{Type: "overlay", Options: []string{"index=off", "workdir=/s/3/work", "upperdir=/s/3/fs", "lowerdir=/s/2/fs:/s/1/fs"}}}, nil
		case "bind":
			return []*types.Mount{{Type: "bind", Source: "/s/1/fs"}}, nil
		case "template":
			return []*types.Mount{{Type: "overlay", Options: []string{"upperdir=/s/3/fs", "lowerdir={{ mount 0 }}"}}}, nil
		}
		return nil, status.Error(codes.NotFound, "snapshot does not exist")
	})
	docker := engineWithImageStore(t, address, "/nowhere")
	for key, want := range map[string][]string{"overlay": {"/s/3/fs", "/s/2/fs", "/s/1/fs"}, "bind": nil, "template": nil, "none": nil} {
		if info, err := docker.Inspect(t.Context(), key); err != nil || !slices.Equal(info.Layers, want) {
			t.Errorf("%s: %v, %v, wanted %v", key, info.Layers, err, want)
		}
	}
	if err := docker.CheckLayers(t.Context()); err != nil {
		t.Error(err)
	}
}

// A container is inspected even if containerd hangs or rejects the request. Its layers are read from the mount table
// while they are mounted.
func TestLayersWithoutContainerd(t *testing.T) {
	testutil.NeedRoot(t)
	root := filepath.Join(t.TempDir(), "a b=c\td\n#\"é")
	if err := os.Mkdir(root, 0o700); err != nil {
		t.Fatal(err)
	}
	if err := unix.Mount("none", root, "tmpfs", 0, ""); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = unix.Unmount(root, unix.MNT_DETACH) })
	at := func(name string) string { return filepath.Join(root, name) }
	mountPoint := at("rootfs/overlayfs/mounted")
	for _, directory := range []string{mountPoint, at("upper"), at("work"), at("lower"), at("lowest")} {
		if err := os.MkdirAll(directory, 0o700); err != nil {
			t.Fatal(err)
		}
	}
	if err := unix.Mount("overlay", mountPoint, "overlay", 0, "upperdir="+at("upper")+",workdir="+at("work")+",lowerdir="+at("lower")+":"+at("lowest")); err != nil {
		t.Fatal(err)
	}
	mounted := []string{at("upper"), at("lower"), at("lowest")}

	hanging := serveContainerd(t, func(ctx context.Context, _ string) ([]*types.Mount, error) {
		<-ctx.Done()
		return nil, ctx.Err()
	})
	for name, address := range map[string]string{"hangs": hanging, "is away": at("none.sock")} {
		docker := engineWithImageStore(t, address, root)
		for id, want := range map[string][]string{"mounted": mounted, "other": nil} {
			if info, err := docker.Inspect(t.Context(), id); err != nil || !slices.Equal(info.Layers, want) {
				t.Errorf("containerd %s: layers of %s: %v, %v, wanted %v", name, id, info.Layers, err, want)
			}
		}
		if err := docker.CheckLayers(t.Context()); err == nil || !strings.Contains(err.Error(), address) {
			t.Errorf("containerd %s: %v", name, err)
		}
	}
}

// A failure of one container or one request does not mean that containerd fails.
func TestOneFailureDoesNotStopOthers(t *testing.T) {
	requests := make(chan struct{}, 1)
	address := serveContainerd(t, func(ctx context.Context, key string) ([]*types.Mount, error) {
		switch key {
		case "rejected":
			return nil, status.Error(codes.InvalidArgument, "no such snapshotter")
		case "huge":
			return []*types.Mount{{Type: "overlay", Options: []string{strings.Repeat("x", 1<<23)}}}, nil
		case "abandoned":
			requests <- struct{}{}
			<-ctx.Done()
			return nil, ctx.Err()
		}
		return []*types.Mount{{Type: "overlay", Options: []string{"upperdir=/s/2/fs", "lowerdir=/s/1/fs"}}}, nil
	})
	for _, failure := range []string{"rejected", "huge", "abandoned"} {
		docker := engineWithImageStore(t, address, "/nowhere")
		ctx, abandon := context.WithCancel(t.Context())
		if failure == "abandoned" {
			go func() {
				<-requests
				abandon()
			}()
		}
		if info, err := docker.Inspect(ctx, failure); err != nil || info.Layers != nil {
			t.Errorf("%s: %v, %v", failure, info.Layers, err)
		}
		abandon()
		if info, err := docker.Inspect(t.Context(), "fine"); err != nil || !slices.Equal(info.Layers, []string{"/s/2/fs", "/s/1/fs"}) {
			t.Errorf("after %s: %v, %v", failure, info.Layers, err)
		}
	}
}

// A process of a container may get the process ID of an engine that has exited. The image store uses the view
// of the running engine.
func TestLayersAfterARestartOfTheEngine(t *testing.T) {
	address := filepath.Join(t.TempDir(), "containerd.sock")
	mounts := func(context.Context, string) ([]*types.Mount, error) {
		return []*types.Mount{{Type: "overlay", Options: []string{"upperdir=/s/2/fs", "lowerdir=/s/1/fs"}}}, nil
	}
	containerd := serveContainerdAt(t, address, mounts)
	engine := startEngine(t)
	info := system.Info{Driver: "overlayfs", DriverStatus: [][2]string{{"driver-type", snapshotterType}}, DockerRootDir: "/nowhere"}
	info.Containerd = &system.ContainerdInfo{Address: address, Namespaces: system.ContainerdNamespaces{Containers: "moby"}}
	store, err := newImageStore(info, func() int { return engine.Process.Pid })
	if err != nil {
		t.Fatal(err)
	}
	defer store.close()
	if layers, err := store.request(t.Context(), "some"); err != nil || len(layers) != 2 {
		t.Fatalf("before: %v, %v", layers, err)
	}
	connected := store.connection.GetState()
	containerd.Stop()
	store.connection.WaitForStateChange(t.Context(), connected)
	serveContainerdAt(t, address, mounts)
	stopEngine(engine)
	engine = startEngine(t)
	if layers, err := store.request(t.Context(), "some"); err != nil || len(layers) != 2 {
		t.Errorf("after: %v, %v", layers, err)
	}
}

// If an engine answers about containers but not about its image store, capmon does not repeat the request about the
// store for each container: each request may take seconds.
func TestFailedRequestsAboutTheStoreAreNotRepeated(t *testing.T) {
	requests := 0
	docker := fake(t, func(w http.ResponseWriter, r *http.Request) {
		if _, id, inspects := strings.Cut(r.URL.Path, "/containers/"); inspects {
			_ = json.NewEncoder(w).Encode(map[string]any{
				"Id": strings.TrimSuffix(id, "/json"), "Config": map[string]any{}, "State": map[string]any{},
				"GraphDriver": map[string]any{"Name": "overlayfs"}, "HostConfig": map[string]any{"SecurityOpt": []string{"seccomp=unconfined"}},
			})
			return
		}
		if strings.HasSuffix(r.URL.Path, "/info") {
			requests++
		}
		http.Error(w, "no", http.StatusInternalServerError)
	})
	t.Cleanup(func() { _ = docker.Close() })
	for _, id := range []string{"one", "two"} {
		if info, err := docker.Inspect(t.Context(), id); err != nil || info.Layers != nil {
			t.Errorf("%s: %v, %v", id, info.Layers, err)
		}
	}
	if requests != 1 {
		t.Errorf("%d requests", requests)
	}
}

// An engine may list the layers itself. The list is not always a stack of directories.
func TestLayersThatTheEngineLists(t *testing.T) {
	var docker Docker
	for name, test := range map[string]struct {
		data map[string]string
		want []string
	}{
		"overlay2":     {map[string]string{"UpperDir": "/d/2/diff", "LowerDir": "/d/2-init/diff:/d/1/diff"}, []string{"/d/2/diff", "/d/2-init/diff", "/d/1/diff"}},
		"no image":     {map[string]string{"UpperDir": "/d/2/diff"}, nil},
		"empty names":  {map[string]string{"UpperDir": "/d/2/diff", "LowerDir": "/d/1/diff::/d/0/diff"}, nil},
		"short names":  {map[string]string{"UpperDir": "/d/2/diff", "LowerDir": "l/ABC:l/DEF"}, nil},
		"with a colon": {map[string]string{"UpperDir": "/a:b/2/diff", "LowerDir": "/a:b/1/diff"}, nil},
	} {
		if got := docker.layersOf(t.Context(), "some", storage.DriverData{Name: "overlay2", Data: test.data}); !slices.Equal(got, test.want) {
			t.Errorf("%s: %v, wanted %v", name, got, test.want)
		}
	}
}

// startEngine starts a process with a mount namespace of its own.
func startEngine(t *testing.T) *exec.Cmd {
	t.Helper()
	testutil.NeedRoot(t)
	engine := exec.Command("sleep", "1000")
	engine.SysProcAttr = &syscall.SysProcAttr{Unshareflags: syscall.CLONE_NEWNS, Pdeathsig: syscall.SIGKILL}
	if err := engine.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { stopEngine(engine) })
	return engine
}

func stopEngine(engine *exec.Cmd) {
	_ = engine.Process.Kill()
	_ = engine.Wait()
}

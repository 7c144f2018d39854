package verify

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"strings"

	"github.com/containerd/errdefs"
	"github.com/docker/docker/api/types/container"
	"github.com/docker/docker/api/types/filters"
	"github.com/docker/docker/api/types/network"
	"github.com/docker/docker/api/types/volume"
	"github.com/docker/docker/client"
	"golang.org/x/sys/unix"
)

// The labels of verify's containers, networks and volumes.
const (
	ownerLabel = "com.github.capmon.verify"
	// runLabel has the name of the run.
	runLabel = "com.github.capmon.verify.run"
	// volumesLabel lists the volumes that were created together with the container.
	volumesLabel = "com.github.capmon.verify.volumes"
)

// owner returns a string that identifies a process on all machines: the boot ID, the PID namespace, the PID and the
// start time of the process.
func owner(pid int) (string, error) {
	boot, err := os.ReadFile("/proc/sys/kernel/random/boot_id")
	if err != nil {
		return "", fmt.Errorf("reading the boot ID: %w", err)
	}
	var namespace unix.Stat_t
	if err := unix.Stat("/proc/self/ns/pid", &namespace); err != nil {
		return "", fmt.Errorf("reading the PID namespace: %w", err)
	}
	start, err := StartTime(pid)
	if err != nil {
		return "", err
	}
	return fmt.Sprintf("%s/%d/%d/%s", bytes.TrimSpace(boot), namespace.Ino, pid, start), nil
}

// StartTime returns when a process started, in clock ticks since boot (proc_pid_stat(5)). It distinguishes two
// processes with the same PID. The error is os.ErrNotExist if no process has the PID.
func StartTime(pid int) (string, error) {
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return "", err
	}
	// The name, in parentheses, may contain anything.
	fields := strings.Fields(string(stat[bytes.LastIndexByte(stat, ')')+1:]))
	const starttime = 22 - 3 // proc_pid_stat(5), less the fields up to the name
	if len(fields) <= starttime {
		return "", fmt.Errorf("/proc/%d/stat has only %d fields after the name", pid, len(fields))
	}
	return fields[starttime], nil
}

// ownerHasEnded reports whether the process in a label has certainly ended. self is the label of this process. A
// running container whose label has another boot ID was started from another machine, so the state of its process is
// not known.
func ownerHasEnded(label, self string, running bool) bool {
	theirs, ours := strings.Split(label, "/"), strings.Split(self, "/")
	if len(theirs) != len(ours) {
		return false
	}
	if theirs[0] != ours[0] {
		return !running
	}
	if theirs[1] != ours[1] { // the PID belongs to another namespace
		return false
	}
	var pid int
	if _, err := fmt.Sscan(theirs[2], &pid); err != nil || pid <= 0 {
		return false
	}
	start, err := StartTime(pid)
	return errors.Is(err, os.ErrNotExist) || err == nil && start != theirs[3]
}

// removeLabelled removes the containers with a label, and then the networks and the volumes, if gone returns true for
// their owner. It returns the number of removed containers.
func removeLabelled(ctx context.Context, api client.APIClient, label string, gone func(owner string, running bool) bool) (int, error) {
	all, err := api.ContainerList(ctx, container.ListOptions{All: true, Filters: labelled(label)})
	if err != nil {
		return 0, fmt.Errorf("listing the containers of verify: %w", err)
	}
	removed := 0
	for _, c := range all {
		if !gone(c.Labels[ownerLabel], c.State == container.StateRunning) {
			continue
		}
		if err := remove(ctx, api, c.ID, volumesOf(c.Labels)); err != nil {
			return removed, err
		}
		removed++
	}
	stopped := func(labels map[string]string) bool { return gone(labels[ownerLabel], false) }
	return removed, errors.Join(removeNetworks(ctx, api, label, stopped), removeLabelledVolumes(ctx, api, label, stopped))
}

func labelled(label string) filters.Args { return filters.NewArgs(filters.Arg("label", label)) }

func removeNetworks(ctx context.Context, api client.APIClient, label string, gone func(labels map[string]string) bool) error {
	all, err := api.NetworkList(ctx, network.ListOptions{Filters: labelled(label)})
	if err != nil {
		return fmt.Errorf("listing the networks of verify: %w", err)
	}
	for _, n := range all {
		if !gone(n.Labels) {
			continue
		}
		// Permission denied means that another container uses the network now.
		if err := api.NetworkRemove(ctx, n.ID); err != nil && !errdefs.IsNotFound(err) && !errdefs.IsPermissionDenied(err) {
			return fmt.Errorf("removing network %s: %w", n.Name, err)
		}
	}
	return nil
}

func removeLabelledVolumes(ctx context.Context, api client.APIClient, label string, gone func(labels map[string]string) bool) error {
	list, err := api.VolumeList(ctx, volume.ListOptions{Filters: labelled(label)})
	if err != nil {
		return fmt.Errorf("listing the volumes of verify: %w", err)
	}
	var names []string
	for _, v := range list.Volumes {
		if gone(v.Labels) {
			names = append(names, v.Name)
		}
	}
	return removeVolumes(ctx, api, names)
}

func volumesOf(labels map[string]string) []string {
	return strings.FieldsFunc(labels[volumesLabel], func(r rune) bool { return r == ',' })
}

// remove kills and removes a container, with its anonymous volumes and the named ones. It is not an error if they no
// longer exist.
func remove(ctx context.Context, api client.APIClient, id string, volumes []string) error {
	err := api.ContainerRemove(ctx, id, container.RemoveOptions{Force: true, RemoveVolumes: true})
	if err != nil && !errdefs.IsNotFound(err) && !errdefs.IsConflict(err) { // conflict: another process removes it
		return fmt.Errorf("removing container %s: %w", id, err)
	}
	return removeVolumes(ctx, api, volumes)
}

func removeVolumes(ctx context.Context, api client.APIClient, names []string) error {
	for _, name := range names {
		if err := api.VolumeRemove(ctx, name, false); err != nil && !errdefs.IsNotFound(err) && !errdefs.IsConflict(err) {
			return fmt.Errorf("removing volume %s: %w", name, err)
		}
	}
	return nil
}

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
	// runLabel names the run.
	runLabel = "com.github.capmon.verify.run"
	// volumesLabel lists the volumes that a container's creation has made by name.
	volumesLabel = "com.github.capmon.verify.volumes"
)

// owner tells one process on one machine from all others: the boot, the PID
// namespace, the PID and its time of start.
func owner(pid int) (string, error) {
	boot, err := os.ReadFile("/proc/sys/kernel/random/boot_id")
	if err != nil {
		return "", fmt.Errorf("reading the boot's ID: %w", err)
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
		return "", fmt.Errorf("/proc/%d/stat has %d fields behind the name", pid, len(fields))
	}
	return fields[starttime], nil
}

// dead reports whether the process that a label names is certainly gone. self is
// the own label. A container that runs although its owner's boot is not ours
// was started from another machine, of which nothing is known here.
func dead(label, self string, running bool) bool {
	theirs, ours := strings.Split(label, "/"), strings.Split(self, "/")
	if len(theirs) != len(ours) {
		return false
	}
	if theirs[0] != ours[0] {
		return !running
	}
	if theirs[1] != ours[1] { // PIDs there mean something else
		return false
	}
	var pid int
	if _, err := fmt.Sscan(theirs[2], &pid); err != nil || pid <= 0 {
		return false
	}
	start, err := StartTime(pid)
	return errors.Is(err, os.ErrNotExist) || err == nil && start != theirs[3]
}

// sweep removes the containers with a label, and then the networks and the volumes, if
// gone holds of their owner. It returns how many containers there were.
func sweep(ctx context.Context, api client.APIClient, label string, gone func(owner string, running bool) bool) (int, error) {
	all, err := api.ContainerList(ctx, container.ListOptions{All: true, Filters: labelled(label)})
	if err != nil {
		return 0, fmt.Errorf("listing the containers of earlier verifies: %w", err)
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
	return removed, errors.Join(sweepNetworks(ctx, api, label, stopped), sweepVolumes(ctx, api, label, stopped))
}

func labelled(label string) filters.Args { return filters.NewArgs(filters.Arg("label", label)) }

func sweepNetworks(ctx context.Context, api client.APIClient, label string, gone func(labels map[string]string) bool) error {
	all, err := api.NetworkList(ctx, network.ListOptions{Filters: labelled(label)})
	if err != nil {
		return fmt.Errorf("listing the networks of earlier verifies: %w", err)
	}
	for _, n := range all {
		if !gone(n.Labels) {
			continue
		}
		// Permission denied: a container has been connected meanwhile.
		if err := api.NetworkRemove(ctx, n.ID); err != nil && !errdefs.IsNotFound(err) && !errdefs.IsPermissionDenied(err) {
			return fmt.Errorf("removing network %s: %w", n.Name, err)
		}
	}
	return nil
}

func sweepVolumes(ctx context.Context, api client.APIClient, label string, gone func(labels map[string]string) bool) error {
	list, err := api.VolumeList(ctx, volume.ListOptions{Filters: labelled(label)})
	if err != nil {
		return fmt.Errorf("listing the volumes of earlier verifies: %w", err)
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

// remove ends a container and removes it, with its anonymous volumes and those
// named. What has gone already is no error.
func remove(ctx context.Context, api client.APIClient, id string, volumes []string) error {
	err := api.ContainerRemove(ctx, id, container.RemoveOptions{Force: true, RemoveVolumes: true})
	if err != nil && !errdefs.IsNotFound(err) && !errdefs.IsConflict(err) { // conflict: somebody else removes it
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

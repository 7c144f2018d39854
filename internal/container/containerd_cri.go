package container

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

const (
	// criPluginTimeout is how long capmon waits for the CRI plugin: what containerd itself reports must not be late.
	criPluginTimeout = 2 * time.Second
	// criPluginRetry is how long capmon does not ask a CRI plugin that has failed.
	criPluginRetry = 30 * time.Second
	// kindLabel is the label that the CRI plugin gives to its containers.
	kindLabel = "io.cri-containerd.kind"
)

// criPlugin is the CRI plugin of a containerd. It reports more about the containers that it has made than containerd:
// the labels and the owners of their pods. Its methods are safe for concurrent use.
type criPlugin struct {
	*CRI
	caution func(error) // may be nil

	mu     sync.Mutex
	infos  map[string]Info // what the plugin has reported, by container ID
	retry  time.Time       // the plugin is not asked before
	failed bool
}

// ask asks the plugin, unless it has failed a short time ago. It returns false if the plugin does not answer.
func (p *criPlugin) ask(ctx context.Context, question func(context.Context) error) bool {
	p.mu.Lock()
	early := time.Now().Before(p.retry)
	p.mu.Unlock()
	if early {
		return false
	}
	limited, cancel := context.WithTimeout(ctx, criPluginTimeout)
	defer cancel()
	err := question(limited)
	if ctx.Err() != nil {
		return false
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	answered := err == nil || errors.Is(err, ErrNotFound)
	missing := status.Code(err) == codes.Unimplemented // containerd without the plugin
	if !answered {
		p.retry = time.Now().Add(criPluginRetry)
	}
	if !answered && !missing && !p.failed && p.caution != nil {
		p.caution(fmt.Errorf("the CRI plugin does not answer, so the labels and owners of pods are not known: %w", err))
	}
	p.failed = !answered
	return err == nil
}

// describe returns a container with what the plugin reports about it. If the plugin does not answer, the result is what
// containerd reports, or what the plugin has reported before.
func (p *criPlugin) describe(ctx context.Context, info Info) Info {
	p.mu.Lock()
	known, ok := p.infos[info.ID]
	p.mu.Unlock()
	if !ok {
		ok = p.ask(ctx, func(ctx context.Context) (err error) {
			known, err = p.Inspect(ctx, info.ID)
			return err
		})
		if !ok {
			return info
		}
		p.mu.Lock()
		if len(p.infos) >= maxKnownImages {
			clear(p.infos)
		}
		p.infos[info.ID] = known
		p.mu.Unlock()
	}
	return info.withCRI(known)
}

// describeAll sets what the plugin reports about the containers in a list. If the plugin does not answer, they keep
// what their annotations have.
func (p *criPlugin) describeAll(ctx context.Context, infos []Info) {
	var all []Info
	p.ask(ctx, func(ctx context.Context) (err error) {
		all, err = p.List(ctx, true)
		return err
	})
	listed := make(map[string]Info, len(all))
	for _, info := range all {
		listed[info.ID] = info
	}
	for i, info := range infos {
		if known, ok := listed[info.ID]; ok {
			infos[i] = info.withCRI(known)
		}
	}
}

// withCRI returns a container with what the CRI reports about its pod and its image. containerd reports its state.
func (i Info) withCRI(cri Info) Info {
	i.Name, i.Labels, i.Pod, i.Sandbox, i.Kubernetes = cri.Name, cri.Labels, cri.Pod, cri.Sandbox, cri.Kubernetes
	if cri.Image != "" {
		i.Image = cri.Image
	}
	if cri.Inspected {
		i.ImageID, i.ImageDigest, i.Privileged, i.NetworkMode, i.PidMode = cri.ImageID, cri.ImageDigest, cri.Privileged, cri.NetworkMode, cri.PidMode
	}
	return i
}

// mayBeOfCRI reports whether a container has the label of the CRI plugin. ctr and nerdctl give the labels of the image
// to a container. So only the CRI and the specification show whether the plugin has made the container, and for which
// pod.
func mayBeOfCRI(namespace string, labels map[string]string) bool {
	return namespace == kubernetesNamespace && labels[kindLabel] != ""
}

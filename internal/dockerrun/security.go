package dockerrun

import (
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/docker/docker/api/types/blkiodev"
	"github.com/docker/docker/api/types/container"
)

// security adds the security settings except capabilities.
func (b *builder) security() {
	h := b.Container.HostConfig
	b.host("CapAdd", "CapDrop", "Privileged", "SecurityOpt", "GroupAdd", "MaskedPaths", "ReadonlyPaths")
	b.addAll("--group-add", h.GroupAdd)
	for _, option := range h.SecurityOpt {
		key, value, _ := strings.Cut(option, "=")
		switch {
		case h.Privileged && option == "label=disable": // set by the engine
		case key == "seccomp" && strings.HasPrefix(strings.TrimSpace(value), "{"):
			b.untranslated("HostConfig.SecurityOpt", "docker run accepts only a file: write the profile that docker inspect shows into a file, and add --security-opt=seccomp=FILE")
		default:
			b.add("--security-opt", option)
		}
	}
	if h.Privileged {
		if !b.keepPrivileged {
			b.result.Notes = append(b.result.Notes, "without --privileged, the new container has neither all devices nor a writable /sys, and the seccomp and AppArmor profiles apply: "+
				"add --device for each device that it needs")
		}
		return
	}
	// Old engines do not report these fields.
	if _, reported := b.HostConfig["MaskedPaths"]; reported && len(h.MaskedPaths) == 0 && len(h.ReadonlyPaths) == 0 {
		b.add("--security-opt", "systempaths=unconfined")
	} else if reported && !slices.Contains(h.MaskedPaths, "/proc/kcore") {
		b.untranslated("HostConfig.MaskedPaths", "")
	}
}

// limits adds resource limits and devices.
func (b *builder) limits() {
	r := b.Container.HostConfig.Resources
	b.host("CpuShares", "CpuPeriod", "CpuQuota", "CpuRealtimePeriod", "CpuRealtimeRuntime", "CpusetCpus", "CpusetMems", "NanoCpus",
		"Memory", "MemoryReservation", "MemorySwap", "MemorySwappiness", "OomKillDisable", "OomScoreAdj", "PidsLimit", "Ulimits", "CgroupParent",
		"BlkioWeight", "BlkioWeightDevice", "BlkioDeviceReadBps", "BlkioDeviceWriteBps", "BlkioDeviceReadIOps", "BlkioDeviceWriteIOps",
		"Devices", "DeviceCgroupRules", "DeviceRequests")
	for _, limit := range []struct {
		option string
		value  int64
	}{
		{"--cpu-shares", r.CPUShares}, {"--cpu-period", r.CPUPeriod}, {"--cpu-quota", r.CPUQuota},
		{"--cpu-rt-period", r.CPURealtimePeriod}, {"--cpu-rt-runtime", r.CPURealtimeRuntime},
		{"--memory", r.Memory}, {"--memory-reservation", r.MemoryReservation}, {"--memory-swap", r.MemorySwap},
		{"--oom-score-adj", int64(b.Container.HostConfig.OomScoreAdj)}, {"--blkio-weight", int64(r.BlkioWeight)},
	} {
		if limit.value != 0 {
			b.add(limit.option, strconv.FormatInt(limit.value, 10))
		}
	}
	if r.NanoCPUs != 0 {
		b.add("--cpus", strings.TrimRight(strings.TrimRight(fmt.Sprintf("%d.%09d", r.NanoCPUs/1e9, r.NanoCPUs%1e9), "0"), "."))
	}
	b.add("--cpuset-cpus", r.CpusetCpus)
	b.add("--cpuset-mems", r.CpusetMems)
	b.add("--cgroup-parent", r.CgroupParent)
	if r.MemorySwappiness != nil && *r.MemorySwappiness != -1 {
		b.add("--memory-swappiness", strconv.FormatInt(*r.MemorySwappiness, 10))
	}
	b.addSwitch("--oom-kill-disable", r.OomKillDisable != nil && *r.OomKillDisable)
	if r.PidsLimit != nil && *r.PidsLimit != 0 {
		b.add("--pids-limit", strconv.FormatInt(*r.PidsLimit, 10))
	}
	for _, u := range r.Ulimits {
		b.add("--ulimit", fmt.Sprintf("%s=%d:%d", u.Name, u.Soft, u.Hard))
	}
	for _, w := range r.BlkioWeightDevice {
		b.add("--blkio-weight-device", w.String())
	}
	b.rates("--device-read-bps", r.BlkioDeviceReadBps)
	b.rates("--device-write-bps", r.BlkioDeviceWriteBps)
	b.rates("--device-read-iops", r.BlkioDeviceReadIOps)
	b.rates("--device-write-iops", r.BlkioDeviceWriteIOps)
	b.devices(r)
}

func (b *builder) rates(option string, rates []*blkiodev.ThrottleDevice) {
	for _, rate := range rates {
		b.add(option, fmt.Sprintf("%s:%d", rate.Path, rate.Rate))
	}
}

func (b *builder) devices(r container.Resources) {
	for _, d := range r.Devices {
		value := d.PathOnHost + ":" + d.PathInContainer
		if d.CgroupPermissions != "" {
			value += ":" + d.CgroupPermissions
		}
		b.add("--device", value)
	}
	b.addAll("--device-cgroup-rule", r.DeviceCgroupRules)
	for _, request := range r.DeviceRequests {
		gpus := len(request.Capabilities) == 1 && slices.Equal(request.Capabilities[0], []string{"gpu"}) && len(request.Options) == 0
		switch {
		case request.Driver == "cdi":
			b.addAll("--device", request.DeviceIDs)
		case gpus && request.Driver == "" && request.Count == -1:
			b.add("--gpus", "all")
		case gpus && request.Driver == "" && len(request.DeviceIDs) == 0:
			b.add("--gpus", strconv.Itoa(request.Count))
		case gpus && request.Driver == "":
			b.add("--gpus", `"device=`+strings.Join(request.DeviceIDs, ",")+`"`)
		default:
			b.untranslated("HostConfig.DeviceRequests", "")
		}
	}
}

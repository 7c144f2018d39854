// Package containeridtest has the forms of the cgroup paths of all engines, for the tests of the two implementations of
// the same rule: internal/containerid and bpf/cgroup.h.
package containeridtest

import "strings"

// PathForm is the form of a path.
type PathForm struct {
	About string
	// Path is the path of a process's cgroup.
	Path string
	// Container is the beginning of Path that is the cgroup of a container, by its name. It is "" if Path has no
	// container, or if names do not show that it is one.
	Container string
	// ID is the ID in the name of Container.
	ID string
	// UserSpaceOnly: the path is a container's, but only the engine or the OCI bundle shows this. The programs do not
	// record it.
	UserSpaceOnly bool
}

// PathForms returns the forms with a container's ID, and with the ID of another container or of a pod.
func PathForms(id, other string) []PathForm {
	// in returns a form in which the container's cgroup is the beginning of path up to "|".
	in := func(about, path string) PathForm {
		before, after, _ := strings.Cut(path, "|")
		return PathForm{About: about, Path: before + after, Container: before, ID: id}
	}
	none := func(about, path string) PathForm { return PathForm{About: about, Path: path} }
	engine := func(about, path string) PathForm { return PathForm{About: about, Path: path, UserSpaceOnly: true} }
	return []PathForm{
		in("Docker, cgroupfs", "/docker/"+id),
		in("Docker, systemd", "/system.slice/docker-"+id+".scope"),
		in("Docker, --cgroup-parent", "/my.slice/my-own.slice/docker-"+id+".scope"),
		in("Docker, --cgroup-parent, cgroupfs", "/batch/"+id),
		in("Docker, --cgroup-parent of Podman", "/libpod_parent/"+id),
		in("Docker, rootless", "/user.slice/user-1000.slice/user@1000.service/user.slice/docker-"+id+".scope"),
		in("Docker in Docker", "/docker/"+id+"|/docker/"+other),
		in("Docker in Docker, systemd", "/system.slice/docker-"+id+".scope|/system.slice/docker-"+other+".scope"),

		in("Podman, systemd, runc", "/machine.slice/libpod-"+id+".scope"),
		in("Podman, systemd, crun", "/machine.slice/libpod-"+id+".scope|/container"),
		in("Podman, cgroupfs", "/libpod_parent/libpod-"+id),
		in("Podman, cgroupfs, crun", "/libpod_parent/libpod-"+id+"|/container"),
		in("Podman, --cgroup-parent, cgroupfs", "/batch/libpod-"+id),
		in("Podman, --cgroups=split", "/system.slice/web.service/libpod-payload-"+id),
		in("Podman, a pod, systemd", "/machine.slice/machine-libpod_pod_"+other+".slice/libpod-"+id+".scope|/container"),
		in("Podman, a pod, cgroupfs", "/libpod_parent/"+other+"/libpod-"+id),
		in("Podman, a pod, cgroupfs, crun", "/libpod_parent/"+other+"/libpod-"+id+"|/container"),
		in("Podman, rootless", "/user.slice/user-1000.slice/user@1000.service/user.slice/libpod-"+id+".scope|/container"),
		in("Podman in Docker", "/docker/"+id+"|/libpod_parent/libpod-"+other),
		in("a pod of Podman in Docker", "/docker/"+id+"|/libpod_parent/"+other+"/libpod-"+other),
		in("Podman in Podman", "/libpod_parent/libpod-"+id+"|/libpod_parent/libpod-"+other),
		in("Podman in a container of a pod", "/libpod_parent/"+other+"/libpod-"+id+"|/libpod_parent/libpod-"+other),
		none("Podman's monitor, systemd", "/machine.slice/libpod-conmon-"+id+".scope"),
		none("Podman's monitor, cgroupfs", "/libpod_parent/conmon"),
		none("Podman's monitor, --cgroups=split", "/system.slice/web.service/runtime"),
		none("Podman's monitor in a pod, cgroupfs", "/libpod_parent/"+other+"/conmon"),

		in("CRI-O, systemd", "/kubepods.slice/kubepods-pod1.slice/crio-"+id+".scope"),
		in("CRI-O, systemd, crun", "/kubepods.slice/kubepods-pod1.slice/crio-"+id+".scope|/container"),
		engine("CRI-O, cgroupfs", "/kubepods/burstable/pod1/crio-"+id),
		none("CRI-O's monitor, cgroupfs", "/kubepods/burstable/pod1/crio-conmon-"+id),
		none("CRI-O's monitor", "/kubepods.slice/kubepods-pod1.slice/crio-conmon-"+id+".scope"),
		in("containerd for Kubernetes, systemd", "/kubepods.slice/kubepods-pod1.slice/cri-containerd-"+id+".scope"),
		in("Kubernetes, cgroupfs", "/kubepods/burstable/podd9c3f3b2-0a7f-4b8e-8d57-5f2e0d3c1a2b/"+id),
		in("nerdctl", "/default/"+id),
		in("nerdctl, systemd", "/system.slice/nerdctl-"+id+".scope"),

		engine("ctr", "/default/web"),
		engine("ctr run --cgroup", "/batch/web"),
		engine("runc", "/web"),
		engine("runc, systemd", "/system.slice/runc-web.scope"),
		engine("runc in the cgroup of its caller", "/user.slice/user-1000.slice/web"),
		engine("crun, systemd", "/system.slice/crun-web.scope"),
		engine("crun, systemd, cgroup v2", "/system.slice/crun-web.scope/container"),
		engine("LXC", "/lxc.payload.web"),
		engine("LXC, a cgroup in the container", "/lxc.payload.web/init.scope"),
		none("LXC's monitor", "/lxc.monitor.web"),
		engine("systemd-nspawn", "/machine.slice/systemd-nspawn@web.service/payload"),
		engine("systemd-nspawn, registered", "/machine.slice/machine-web.scope/payload"),
		none("systemd-nspawn's monitor", "/machine.slice/systemd-nspawn@web.service/supervisor"),
		engine("a unit", "/system.slice/nginx.service"),
		engine("a template's instance", "/system.slice/system-getty.slice/getty@tty1.service"),
		engine("a transient scope", "/system.slice/run-r1.scope"),
	}
}

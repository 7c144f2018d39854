package dockerrun

import (
	"cmp"
	"maps"
	"net"
	"slices"
	"strings"

	"github.com/docker/docker/api/types/network"
	"github.com/docker/go-connections/nat"
)

// network adds the options for networks and ports.
func (b *builder) network() {
	h, c := b.Container.HostConfig, b.Container.Config
	b.config("ExposedPorts", "MacAddress")
	b.host("NetworkMode", "PortBindings", "PublishAllPorts", "Dns", "DnsOptions", "DnsSearch", "ExtraHosts", "Links")
	b.networks()
	// For other networks, the engine reports the MAC address only in the new form.
	b.add("--mac-address", c.MacAddress) //nolint:staticcheck // old engines have no other
	b.ports()
	b.addSwitch("--publish-all", h.PublishAllPorts)
	b.addAll("--dns", h.DNS)
	b.addAll("--dns-option", h.DNSOptions)
	b.addAll("--dns-search", h.DNSSearch)
	b.addAll("--add-host", h.ExtraHosts)
	for _, link := range h.Links { // /db:/web/alias
		target, alias, _ := strings.Cut(link, ":")
		b.add("--link", strings.TrimPrefix(target, "/")+":"+alias[strings.LastIndexByte(alias, '/')+1:])
	}
}

// networks adds the network of docker run, and the commands that connect further networks: engines before 25 accept
// only one network in docker run.
func (b *builder) networks() {
	mode := b.Container.HostConfig.NetworkMode
	switch {
	case mode.IsContainer():
		b.add("--network", "container:"+b.nameOf(mode.ConnectedContainer()))
		return
	case mode.IsHost() || mode.IsNone():
		b.add("--network", string(mode))
		return
	}
	main := string(mode)
	networks := map[string]*network.EndpointSettings{}
	if b.Container.NetworkSettings != nil {
		networks = b.Container.NetworkSettings.Networks
	}
	for name, settings := range networks {
		if settings != nil && settings.NetworkID != "" && settings.NetworkID == main {
			main = name
		}
	}
	if mode.IsDefault() || mode.IsBridge() {
		main = network.NetworkBridge
	} else {
		b.add("--network", main)
		b.options = append(b.options, b.endpoint(main, networks[main], "--network-alias")...)
	}
	for _, name := range slices.Sorted(maps.Keys(networks)) {
		if name != main {
			words := append([]string{"docker", "network", "connect"}, b.endpoint(name, networks[name], "--alias")...)
			b.connect = append(b.connect, append(words, name, strings.TrimPrefix(b.Container.Name, "/")))
		}
	}
}

// endpoint returns the options of a network. alias is the name of the alias option in docker run or docker network
// connect.
func (b *builder) endpoint(name string, e *network.EndpointSettings, alias string) (options []string) {
	if e == nil {
		return nil
	}
	add := func(option string, values ...string) {
		for _, value := range values {
			if value != "" {
				options = append(options, option+"="+value)
			}
		}
	}
	for _, other := range e.Aliases {
		if !strings.HasPrefix(b.Container.ID, other) { // the engine's own alias
			add(alias, other)
		}
	}
	if ipam := e.IPAMConfig; ipam != nil {
		add("--ip", ipam.IPv4Address)
		add("--ip6", ipam.IPv6Address)
		add("--link-local-ip", ipam.LinkLocalIPs...)
	}
	if alias == "--alias" { // otherwise they are the container's links
		add("--link", e.Links...)
	}
	if len(e.DriverOpts) > 0 {
		b.untranslated("NetworkSettings.Networks."+name+".DriverOpts", "")
	}
	if e.GwPriority != 0 {
		b.untranslated("NetworkSettings.Networks."+name+".GwPriority", "")
	}
	return options
}

// nameOf returns the name of a container, which may be created again, or its ID if it has no name.
func (b *builder) nameOf(id string) string { return cmp.Or(b.names[id], id) }

func (b *builder) ports() {
	bindings := b.Container.HostConfig.PortBindings
	for _, port := range sortedPorts(bindings) {
		if len(bindings[port]) == 0 {
			b.add("--publish", string(port))
		}
		for _, binding := range bindings[port] {
			b.add("--publish", published(binding, port))
		}
	}
	for _, port := range sortedPorts(b.Container.Config.ExposedPorts) {
		_, bound := bindings[port]
		if _, inherited := b.Image.ExposedPorts[string(port)]; !bound && !inherited {
			b.add("--expose", string(port))
		}
	}
}

func sortedPorts[T any](ports map[nat.Port]T) []nat.Port {
	return slices.SortedFunc(maps.Keys(ports), func(one, other nat.Port) int {
		return cmp.Or(cmp.Compare(one.Int(), other.Int()), cmp.Compare(one, other))
	})
}

func published(binding nat.PortBinding, port nat.Port) string {
	host := binding.HostIP
	if ip := net.ParseIP(host); ip != nil && ip.To4() == nil {
		host = "[" + host + "]"
	}
	switch {
	case host != "":
		return host + ":" + binding.HostPort + ":" + string(port)
	case binding.HostPort != "":
		return binding.HostPort + ":" + string(port)
	}
	return string(port)
}

// namespaces adds shared namespaces, and the settings of the container's own namespaces.
func (b *builder) namespaces() {
	h := b.Container.HostConfig
	b.host("PidMode", "IpcMode", "UTSMode", "UsernsMode", "CgroupnsMode", "Cgroup", "Sysctls")
	b.add("--pid", b.shared(string(h.PidMode)))
	if mode := string(h.IpcMode); mode != "private" { // the engine's default
		b.add("--ipc", b.shared(mode))
	}
	b.add("--uts", string(h.UTSMode))
	b.add("--userns", string(h.UsernsMode))
	defaultMode := "private"
	if b.CgroupVersion == "1" {
		defaultMode = "host"
	}
	if string(h.CgroupnsMode) != defaultMode {
		b.add("--cgroupns", string(h.CgroupnsMode))
	}
	if h.Cgroup != "" {
		b.untranslated("HostConfig.Cgroup", "")
	}
	b.addMap("--sysctl", h.Sysctls)
}

// shared replaces the ID of the container whose namespace is shared by its name, which stays valid.
func (b *builder) shared(mode string) string {
	if id, ok := strings.CutPrefix(mode, "container:"); ok {
		return "container:" + b.nameOf(id)
	}
	return mode
}

package dockerrun

import (
	"slices"
	"strconv"
	"strings"

	"github.com/docker/docker/api/types/container"

	"github.com/capmon/capmon/internal/shell"
)

// identity is who it is: names, labels, logs.
func (b *builder) identity() {
	c := b.Container.Config
	b.add("--name", strings.TrimPrefix(b.Container.Name, "/"))
	b.config("Hostname", "Domainname", "Labels", "Image")
	mode := b.Container.HostConfig.NetworkMode
	switch {
	case mode.IsContainer(), b.Container.HostConfig.UTSMode.IsHost(): // another one's
	case mode.IsHost() && c.Hostname == b.Hostname:
	case strings.HasPrefix(b.Container.ID, c.Hostname): // the engine's choice
	default:
		b.add("--hostname", c.Hostname)
	}
	if !mode.IsContainer() {
		b.add("--domainname", c.Domainname)
	}
	labels := map[string]string{}
	for key, value := range c.Labels {
		if inherited, ok := b.Image.Labels[key]; !ok || inherited != value {
			labels[key] = value
		}
	}
	b.addMap("--label", labels)
	b.host("Annotations")
	b.addMap("--annotation", b.Container.HostConfig.Annotations)
}

// process is what runs in it, and as whom.
func (b *builder) process() {
	c := b.Container.Config
	b.config("User", "WorkingDir", "Env", "Cmd", "Entrypoint", "StopSignal", "StopTimeout", "Tty", "OpenStdin")
	// How docker run was attached to it is not the container's, and what only building an
	// image or Windows looks at is of no use here.
	b.config("AttachStdin", "AttachStdout", "AttachStderr", "StdinOnce", "OnBuild", "Shell", "ArgsEscaped")
	b.host("ConsoleSize")
	b.addSwitch("--tty", c.Tty)
	b.addSwitch("--interactive", c.OpenStdin)
	b.differs("--user", c.User, b.Image.User)
	b.differs("--workdir", c.WorkingDir, b.Image.WorkingDir)
	b.differs("--stop-signal", c.StopSignal, b.Image.StopSignal)
	if c.StopTimeout != nil {
		b.add("--stop-timeout", strconv.Itoa(*c.StopTimeout))
	}
	b.environment()
	b.command()
}

// differs adds what is not the image's anyway.
func (b *builder) differs(option, value, inherited string) {
	if value != inherited {
		b.add(option, value)
	}
}

func (b *builder) environment() {
	set := make(map[string]bool)
	for _, variable := range b.Container.Config.Env {
		name, _, hasValue := strings.Cut(variable, "=")
		set[name] = true
		switch {
		case slices.Contains(b.Image.Env, variable):
		case !hasValue: // docker run would look for a value in its own environment
			b.cannot("Config.Env", name+" has no value")
		default:
			b.add("--env", b.variable(name, variable))
		}
	}
	for _, variable := range b.Image.Env {
		if name, _, _ := strings.Cut(variable, "="); !set[name] {
			b.cannot("Config.Env", name+" of the image was taken away")
		}
	}
}

// command has to undo how the engine fills in what the image has (merge,
// daemon/commit.go of moby): with an entry point given, the image's command is ignored.
func (b *builder) command() {
	entrypoint, cmd := []string(b.Container.Config.Entrypoint), []string(b.Container.Config.Cmd)
	switch {
	case slices.Equal(entrypoint, b.Image.Entrypoint) && slices.Equal(cmd, b.Image.Cmd):
	case slices.Equal(entrypoint, b.Image.Entrypoint) && len(cmd) > 0:
		b.args = b.arguments(cmd)
	case len(entrypoint) == 0:
		b.options = append(b.options, "--entrypoint=")
		b.args = b.arguments(cmd)
	default:
		b.add("--entrypoint", entrypoint[0]) // the name of a file
		b.args = b.arguments(slices.Concat(entrypoint[1:], cmd))
	}
}

// health is the health check, of which the image's parts are filled in one by one.
func (b *builder) health() {
	b.config("Healthcheck")
	check, inherited := b.Container.Config.Healthcheck, container.HealthConfig{}
	if b.Image.Healthcheck != nil {
		inherited = container.HealthConfig(*b.Image.Healthcheck)
	}
	switch {
	case check == nil:
		return
	case slices.Equal(check.Test, inherited.Test):
	case len(check.Test) == 1 && check.Test[0] == "NONE":
		b.addSwitch("--no-healthcheck", true)
		return
	case len(check.Test) == 2 && check.Test[0] == "CMD-SHELL":
		b.add("--health-cmd", b.value("--health-cmd", "", check.Test[1]))
	case len(check.Test) > 1 && check.Test[0] == "CMD":
		b.cannot("Config.Healthcheck", "docker run takes a shell's command only, not the words "+shell.Line(b.words("--health-cmd", check.Test[1:])))
		return
	default:
		b.cannot("Config.Healthcheck", "")
		return
	}
	if check.Interval != inherited.Interval {
		b.add("--health-interval", check.Interval.String())
	}
	if check.Timeout != inherited.Timeout {
		b.add("--health-timeout", check.Timeout.String())
	}
	if check.StartPeriod != inherited.StartPeriod {
		b.add("--health-start-period", check.StartPeriod.String())
	}
	if check.StartInterval != inherited.StartInterval {
		b.add("--health-start-interval", check.StartInterval.String())
	}
	if check.Retries != inherited.Retries {
		b.add("--health-retries", strconv.Itoa(check.Retries))
	}
}

// running is how the engine treats it: restarts, removal, logs, runtime.
func (b *builder) running() {
	h := b.Container.HostConfig
	b.host("RestartPolicy", "AutoRemove", "LogConfig", "Runtime", "Init", "Isolation", "ContainerIDFile")
	if policy := h.RestartPolicy; policy.Name != "" && policy.Name != container.RestartPolicyDisabled {
		value := string(policy.Name)
		if policy.MaximumRetryCount > 0 {
			value += ":" + strconv.Itoa(policy.MaximumRetryCount)
		}
		b.add("--restart", value)
	}
	b.addSwitch("--rm", h.AutoRemove)
	if h.LogConfig.Type != b.LogDriver || len(h.LogConfig.Config) > 0 {
		b.add("--log-driver", h.LogConfig.Type)
		b.addMap("--log-opt", h.LogConfig.Config)
	}
	if h.Runtime != b.Runtime {
		b.add("--runtime", h.Runtime)
	}
	if h.Init != nil {
		b.add("--init", strconv.FormatBool(*h.Init))
	}
	if !h.Isolation.IsDefault() {
		b.add("--isolation", string(h.Isolation))
	}
	if h.ContainerIDFile != "" {
		b.cannot("HostConfig.ContainerIDFile", "docker run would refuse to write the file again")
	}
}

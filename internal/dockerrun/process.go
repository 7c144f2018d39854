package dockerrun

import (
	"slices"
	"strconv"
	"strings"

	"github.com/docker/docker/api/types/container"

	"github.com/capmon/capmon/internal/shell"
)

// identity adds name, host name, labels and annotations.
func (b *builder) identity() {
	c := b.Container.Config
	b.add("--name", strings.TrimPrefix(b.Container.Name, "/"))
	b.config("Hostname", "Domainname", "Labels", "Image")
	mode := b.Container.HostConfig.NetworkMode
	switch {
	case mode.IsContainer(), b.Container.HostConfig.UTSMode.IsHost(): // the host name of another container or the host
	case mode.IsHost() && c.Hostname == b.Hostname:
	case strings.HasPrefix(b.Container.ID, c.Hostname): // chosen by the engine
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

// process adds the program, its user and its environment.
func (b *builder) process() {
	c := b.Container.Config
	b.config("User", "WorkingDir", "Env", "Cmd", "Entrypoint", "StopSignal", "StopTimeout", "Tty", "OpenStdin")
	// The first four describe how docker run was attached. The others matter only for building images or on Windows.
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

// differs adds an option unless the image has the same value.
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
		case !hasValue: // docker run would read a value from its own environment
			b.untranslated("Config.Env", name+" has no value")
		default:
			b.add("--env", b.variable(name, variable))
		}
	}
	for _, variable := range b.Image.Env {
		if name, _, _ := strings.Cut(variable, "="); !set[name] {
			b.untranslated("Config.Env", name+" of the image was removed")
		}
	}
}

// command adds the entry point and the arguments that differ from the image's. If the options contain an entry point,
// the engine ignores the image's command (merge, daemon/commit.go of moby), so the arguments must contain the command.
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

// health adds the health check. The engine takes each missing part from the image.
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
		b.untranslated("Config.Healthcheck", "docker run accepts only a shell command, not the words "+shell.Line(b.words("--health-cmd", check.Test[1:])))
		return
	default:
		b.untranslated("Config.Healthcheck", "")
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

// lifecycle adds restarts, removal, logs and the runtime.
func (b *builder) lifecycle() {
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
		b.untranslated("HostConfig.ContainerIDFile", "docker run does not overwrite an existing file")
	}
}

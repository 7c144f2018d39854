package settings

import (
	"github.com/capmon/capmon/capability"
	"github.com/capmon/capmon/internal/dockerflags"
)

func ansibleTarget() Target {
	return Target{
		Name: "ansible", About: "parameters of the module community.docker.docker_container", standard: capability.DockerDefault(),
		text: func(c changes) string {
			// An empty list removes the capabilities that were added before.
			return "cap_drop: " + flowList(c.dropped(dockerflags.All)) + "\ncapabilities: " + flowList(Names(c.add)) + "\n"
		},
		join: commented("---\n"), comments: true,
	}
}

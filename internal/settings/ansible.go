package settings

import "github.com/capmon/capmon/internal/capability"

func ansibleTarget() Target {
	return Target{
		Name: "ansible", About: "parameters of the module community.docker.docker_container", standard: capability.DockerDefault(),
		text: func(c changes) string {
			// An empty list takes away what the container was given before.
			return "cap_drop: " + flow(c.dropped(allDropped)) + "\ncapabilities: " + flow(Names(c.add)) + "\n"
		},
		join: commented("---\n"), comments: true,
	}
}

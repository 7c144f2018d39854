package settings

import (
	"github.com/capmon/capmon/capability"
	"github.com/capmon/capmon/internal/dockerflags"
)

func devcontainerTarget() Target {
	return Target{
		Name: "devcontainer", About: "members of a devcontainer.json", standard: capability.DockerDefault(),
		text: func(c changes) string {
			settings := object{}
			// There is a member for added capabilities only.
			if drop := dockerflags.Of(c.dropped(dockerflags.All), nil); len(drop) > 0 {
				settings["runArgs"] = drop
			}
			if !c.add.Empty() {
				settings["capAdd"] = Names(c.add)
			}
			return asciiJSON(settings)
		},
		notes: func(changes) []string {
			return []string{"Features of the dev container may request further capabilities. The container gets these as well"}
		},
		join: members,
	}
}

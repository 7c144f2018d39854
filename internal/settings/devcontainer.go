package settings

import "github.com/capmon/capmon/internal/capability"

func devcontainerTarget() Target {
	return Target{
		Name: "devcontainer", About: "members of a devcontainer.json", standard: capability.DockerDefault(),
		text: func(c changes) string {
			settings := object{}
			// There is a member for what is added only.
			if drop := GrantFlags(c.dropped(allDropped), nil); len(drop) > 0 {
				settings["runArgs"] = drop
			}
			if !c.add.Empty() {
				settings["capAdd"] = Names(c.add)
			}
			return asciiJSON(settings)
		},
		notes: func(changes) []string {
			return []string{"the capabilities that Features of the dev container ask for are added to these"}
		},
		join: members,
	}
}

package settings

import (
	"fmt"

	"github.com/capmon/capmon/internal/capability"
)

// ecsUnknown are the capabilities that ECS has no word for (KernelCapabilities,
// https://docs.aws.amazon.com/AmazonECS/latest/APIReference/API_KernelCapabilities.html).
func ecsUnknown() capability.Set {
	return capability.Of(capability.AuditRead, capability.BPF, capability.CheckpointRestore, capability.Perfmon)
}

// fargate is what tasks on Fargate may add.
func fargate() capability.Set { return capability.Of(capability.SysPtrace) }

func ecsTarget() Target {
	return Target{
		Name: "ecs", About: "linuxParameters of a container in an ECS task definition", standard: capability.DockerDefault(),
		text: func(c changes) string {
			lists := object{"drop": c.dropped(allDropped)}
			if !c.add.Empty() {
				lists["add"] = Names(c.add)
			}
			return asciiJSON(object{"linuxParameters": object{"capabilities": lists}})
		},
		notes: ecsNotes, join: members,
	}
}

func ecsNotes(c changes) []string {
	var notes []string
	if unknown := c.add.Intersect(ecsUnknown()); !unknown.Empty() {
		notes = append(notes, "ECS has no word for "+unknown.Text()+" and will refuse it: there the container can run privileged only")
	}
	beyond, byItself := c.add.Minus(fargate()), c.Needs.Minus(fargate()).Minus(capability.DockerDefault())
	switch {
	case beyond.Empty():
	case byItself.Empty():
		notes = append(notes, "not for Fargate, which lets no container add any but SYS_PTRACE: there, --style delta drops the others")
	default:
		notes = append(notes, fmt.Sprintf("not for Fargate, which lets no container add any but SYS_PTRACE: it has no way to grant %s", byItself.Text()))
	}
	return notes
}

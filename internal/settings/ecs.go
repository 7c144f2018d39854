package settings

import (
	"fmt"

	"github.com/capmon/capmon/capability"
	"github.com/capmon/capmon/internal/dockerflags"
)

// ecsUnknown returns the capabilities for which ECS has no name (KernelCapabilities,
// https://docs.aws.amazon.com/AmazonECS/latest/APIReference/API_KernelCapabilities.html).
func ecsUnknown() capability.Set {
	return capability.Of(capability.AuditRead, capability.BPF, capability.CheckpointRestore, capability.Perfmon)
}

// fargateAllowed returns the capabilities that tasks on Fargate may add.
func fargateAllowed() capability.Set { return capability.Of(capability.SysPtrace) }

func ecsTarget() Target {
	return Target{
		Name: "ecs", About: "linuxParameters of a container in an ECS task definition", standard: capability.DockerDefault(),
		text: func(c changes) string {
			lists := object{"drop": c.dropped(dockerflags.All)}
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
		notes = append(notes, "ECS has no name for "+unknown.Text()+" and rejects it: on ECS, only a privileged container has this capability")
	}
	beyond, byItself := c.add.Minus(fargateAllowed()), c.Needs.Minus(fargateAllowed()).Minus(capability.DockerDefault())
	switch {
	case beyond.Empty():
	case byItself.Empty():
		notes = append(notes, "Fargate accepts no added capability except SYS_PTRACE: for Fargate, use --style delta, which only drops capabilities")
	default:
		notes = append(notes, fmt.Sprintf("Fargate accepts no added capability except SYS_PTRACE: it cannot grant %s", byItself.Text()))
	}
	return notes
}

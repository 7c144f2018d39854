package settings

import (
	"fmt"
	"strings"

	"github.com/capmon/capmon/internal/capability"
)

// restricted is what the Pod Security Standard of that name lets containers add, which
// also have to drop ALL; baseline what that one does. (https://kubernetes.io/docs/concepts/security/pod-security-standards/)
func restricted() capability.Set { return capability.Of(capability.NetBindService) }

func baseline() capability.Set { return capability.DockerDefault().Without(capability.NetRaw) }

func kubernetesTarget() Target {
	return Target{
		Name: "kubernetes", About: "securityContext of a container in a pod", noDelta: runtimesDefault,
		text: securityContext, notes: podNotes, join: commented("---\n"), comments: true, strictPorts: true, rootOnly: true,
	}
}

func helmTarget() Target {
	return Target{
		Name: "helm", About: "values of a chart that has the value securityContext", noDelta: runtimesDefault,
		text: securityContext,
		notes: func(c changes) []string {
			return append([]string{"values of a chart that puts securityContext into its container, as helm create makes it (podSecurityContext has no capabilities)"},
				podNotes(c)...)
		},
		join: commented("---\n"), comments: true, strictPorts: true, rootOnly: true,
	}
}

const runtimesDefault = "what Kubernetes grants by itself depends on the container runtime of the node"

func securityContext(c changes) string {
	lines := []string{"securityContext:", "  capabilities:", "    drop: " + flow([]string{allDropped})}
	if !c.add.Empty() {
		lines = append(lines, "    add: "+flow(Names(c.add)))
	}
	return strings.Join(lines, "\n") + "\n"
}

// podNotes say which Pod Security Standards allow the capabilities, and whom they reach.
func podNotes(c changes) []string {
	notes := []string{podSecurity(c.add)}
	if !c.add.Empty() {
		notes = append(notes, "added capabilities reach root's processes; those of other users (runAsUser) only through a set-user-ID program or a file that carries them, and not with allowPrivilegeEscalation: false")
	}
	return notes
}

func podSecurity(add capability.Set) string {
	switch beyond, above := add.Minus(restricted()), add.Minus(baseline()); {
	case beyond.Empty():
		return `Pod Security: these capabilities are allowed by all levels, "restricted" included`
	case above.Empty():
		return fmt.Sprintf(`Pod Security: allowed by "baseline", not by "restricted": %s`, beyond.Text())
	default:
		return fmt.Sprintf(`Pod Security: allowed by "privileged" only: %s`, above.Text())
	}
}

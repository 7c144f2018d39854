package settings

import (
	"fmt"
	"strings"

	"github.com/capmon/capmon/capability"
	"github.com/capmon/capmon/internal/dockerflags"
)

// restrictedAllowed returns the capabilities that the Pod Security Standard "restricted" allows containers to add. It
// also requires that containers drop ALL. baselineAllowed returns the capabilities that the standard "baseline" allows
// containers to add (https://kubernetes.io/docs/concepts/security/pod-security-standards/).
func restrictedAllowed() capability.Set { return capability.Of(capability.NetBindService) }

func baselineAllowed() capability.Set { return capability.DockerDefault().Without(capability.NetRaw) }

func kubernetesTarget() Target {
	return Target{
		Name: Kubernetes, About: "securityContext of a container in a pod", noDelta: runtimesDefault,
		text: securityContext, notes: podNotes, join: commented("---\n"), comments: true, keepsLimits: true, rootOnly: true,
	}
}

func helmTarget() Target {
	return Target{
		Name: "helm", About: "values of a chart that has the value securityContext", noDelta: runtimesDefault,
		text: securityContext,
		notes: func(c changes) []string {
			return append([]string{"these values are for a chart that copies securityContext to its container, as the charts of helm create do (podSecurityContext has no capabilities)"},
				podNotes(c)...)
		},
		join: commented("---\n"), comments: true, keepsLimits: true, rootOnly: true,
	}
}

const runtimesDefault = "the default capabilities in Kubernetes depend on the container runtime of the node"

func securityContext(c changes) string {
	lines := []string{"securityContext:", "  capabilities:", "    drop: " + flowList([]string{dockerflags.All})}
	if !c.add.Empty() {
		lines = append(lines, "    add: "+flowList(Names(c.add)))
	}
	return strings.Join(lines, "\n") + "\n"
}

// SecurityContext returns the setting of a container in a pod that grants the needs and nothing else, as one line of
// YAML.
func SecurityContext(needs capability.Set) string {
	text := "securityContext: {capabilities: {drop: " + flowList([]string{dockerflags.All})
	if !needs.Empty() {
		text += ", add: " + flowList(Names(needs))
	}
	return text + "}}"
}

// podNotes returns notes about the Pod Security Standards that allow the capabilities, and about the processes that get
// them.
func podNotes(c changes) []string {
	notes := []string{podSecurity(c.add)}
	if !c.add.Empty() {
		notes = append(notes, "only processes of root get the added capabilities",
			"others (runAsUser) get them through a set-user-ID program or file capabilities, unless allowPrivilegeEscalation is false")
	}
	return notes
}

func podSecurity(add capability.Set) string {
	switch beyond, above := add.Minus(restrictedAllowed()), add.Minus(baselineAllowed()); {
	case beyond.Empty():
		return `Pod Security: these capabilities are allowed by all levels, "restricted" included`
	case above.Empty():
		return fmt.Sprintf(`Pod Security: allowed by "baseline", not by "restricted": %s`, beyond.Text())
	default:
		return fmt.Sprintf(`Pod Security: allowed by "privileged" only: %s`, above.Text())
	}
}

package settings

import (
	"strings"

	"github.com/capmon/capmon/capability"
	"github.com/capmon/capmon/internal/dockerflags"
)

func terraformTarget() Target {
	return Target{
		Name: "terraform", About: "block of a docker_container of the provider kreuzwerker/docker", standard: capability.DockerDefault(),
		text: terraformBlock, join: commented("\n"), comments: true,
	}
}

func terraformBlock(c changes) string {
	lines := []string{"capabilities {"}
	add := "  add = "
	drop := capNames(c.drop)
	if c.all {
		drop = []string{dockerflags.All}
	}
	if len(drop) > 0 {
		lines = append(lines, "  drop = "+quotedList(drop))
		add = "  add  = " // aligned as by terraform fmt
	}
	if !c.add.Empty() {
		lines = append(lines, add+quotedList(capNames(c.add)))
	}
	return strings.Join(append(lines, "}"), "\n") + "\n"
}

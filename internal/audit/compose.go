package audit

import (
	"path"
	"regexp"
	"slices"
	"strings"

	"github.com/capmon/capmon/capability"
	"github.com/capmon/capmon/internal/container"
	"github.com/capmon/capmon/internal/profile"
	"github.com/capmon/capmon/internal/settings"
	"github.com/capmon/capmon/internal/shell"
)

// Compose is the service of a Compose file that a container belongs to, according to its labels.
type Compose struct {
	Project   string   `json:"project"`
	Service   string   `json:"service"`
	Directory string   `json:"directory,omitempty"`
	Files     []string `json:"files,omitempty"`
	// EnvFiles are the files of docker compose --env-file, not the files of the services.
	EnvFiles []string `json:"envFiles,omitempty"`
}

// composeName matches the names that Compose allows for projects and services, except those that begin like an option.
// Any user may set the labels of a container.
var composeName = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9._-]*$`)

// ownLabels returns the labels that were set on the container itself. It leaves out the labels of the image, because
// the author of an image must not decide which commands capmon prints. It returns none if the image no longer exists,
// because the origin of the labels is unknown.
func ownLabels(labels map[string]string, s container.Settings) map[string]string {
	own := make(map[string]string)
	for key, value := range labels {
		if inherited, ok := s.Image.Labels[key]; !s.ImageGone && (!ok || inherited != value) {
			own[key] = value
		}
	}
	return own
}

// serviceOf returns the swarm service of a container; "" if it is not a task. The swarm sets the ID of the task and the
// name of the service on each task, even if the image has labels with the same keys.
func serviceOf(labels, own map[string]string) string {
	if own["com.docker.swarm.task.id"] == "" {
		labels = own
	}
	return profile.Container{Labels: labels}.Service()
}

// composeOf returns the Compose service of a container; nil if the labels do not name one. If Compose created the
// container, composeOf also accepts names that the image has, because Compose adds them to images that it builds.
func composeOf(labels, own map[string]string) *Compose {
	const prefix, directory, files = "com.docker.compose.", "com.docker.compose.project.working_dir", "com.docker.compose.project.config_files"
	if (profile.Container{Labels: own}).OneOff() { // docker compose up does not start it again
		return nil
	}
	names := labels
	if own[prefix+"config-hash"] == "" {
		names = own
	}
	c := &Compose{
		Project: names[prefix+"project"], Service: names[prefix+"service"], Directory: own[directory],
		Files: listed(own[files]), EnvFiles: listed(own[prefix+"project.environment_file"]),
	}
	if !composeName.MatchString(c.Project) || !composeName.MatchString(c.Service) {
		return nil
	}
	if own[directory] != labels[directory] || own[files] != labels[files] {
		return nil
	}
	if c.Directory != "" && !local(c.Directory) || !all(c.Files, local) || !all(c.EnvFiles, local) {
		return nil
	}
	return c
}

func listed(text string) []string {
	if text == "" {
		return nil
	}
	return strings.Split(text, ",")
}

func all(paths []string, are func(string) bool) bool {
	return !slices.ContainsFunc(paths, func(path string) bool { return !are(path) })
}

// local reports whether name is an absolute path, and not a resource that Compose would fetch or a path that depends on
// the working directory.
func local(name string) bool { return path.IsAbs(name) && !strings.Contains(name, "://") }

// where returns a description of the Compose file.
func (c Compose) where() string {
	switch {
	case len(c.Files) == 1:
		return "the Compose file " + c.Files[0]
	case len(c.Files) > 1:
		return "one of the Compose files " + strings.Join(c.Files, ", ")
	case c.Directory != "":
		return "the Compose file in " + c.Directory
	}
	return "the Compose file of the project " + c.Project
}

func composeLines(c Compose, list capability.Set, privileged bool) []string {
	lines := []string{"services:", "  " + c.Service + ":"}
	for _, line := range settings.ComposeLines(list) {
		lines = append(lines, "    "+line)
	}
	if privileged {
		lines = append(lines, "    privileged: false")
	}
	return lines
}

func composeCommand(c Compose) []string {
	words := []string{"docker", "compose", "--project-name=" + c.Project}
	if c.Directory != "" {
		words = append(words, "--project-directory="+c.Directory)
	}
	for _, file := range c.EnvFiles {
		words = append(words, "--env-file="+file)
	}
	for _, file := range c.Files {
		words = append(words, "--file="+file)
	}
	return words
}

func composeUp(c Compose, options ...string) string {
	return shell.Line(slices.Concat(composeCommand(c), []string{"up", "--detach"}, options, []string{c.Service}))
}

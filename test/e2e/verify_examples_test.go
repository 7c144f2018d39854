package e2e

import (
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/capmon/capmon/internal/testutil"
)

// example matches the command lines of verify that can be typed unchanged.
var example = regexp.MustCompile(`(?m)^\s*(?:\$ )?(sudo capmon verify .*-- docker (?:run|compose) .*)$`)

// All verify examples in the docs and the help text prove something, with images and files of the names that they use.
// The server starts to listen only after its container has started.
func TestVerifyExamplesWork(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	const server = `ENTRYPOINT ["sh", "-c", "sleep 0.5; trap 'exit 0' TERM; httpd -p 80 -h /www; while :; do sleep 0.1; done"]`
	for image, change := range map[string]string{"web": server, "nginx": server, "app": `CMD ["./selftest"]`} {
		imageOf(t, image, change)
	}
	compose := "name: verify-examples\nservices: {web: {image: web, ports: ['80:80'], stop_grace_period: 30s}}\n"
	bin := filepath.Join(dir, "bin")
	err := errors.Join(
		os.Mkdir(bin, 0o755),
		os.Symlink(binary, filepath.Join(bin, "capmon")),
		os.WriteFile(filepath.Join(bin, "sudo"), []byte("#!/bin/sh\nexec \"$@\"\n"), 0o755),
		os.WriteFile(filepath.Join(dir, "compose.yml"), []byte(compose), 0o600),
		os.WriteFile(filepath.Join(dir, "shop.yml"), []byte(compose), 0o600),
	)
	if err != nil {
		t.Fatal(err)
	}
	mustExecute(t, binary, "profile", "--save", filepath.Join(dir, "web.json"), "--", "docker", "run", "--rm", "--name", "web", "app")

	texts := testutil.Documents(t, "../..")
	texts["the help"] = mustExecute(t, binary, "verify", "--help")
	var done []string
	for path, text := range texts {
		for _, match := range example.FindAllStringSubmatch(text, -1) {
			if slices.Contains(done, match[1]) {
				continue
			}
			done = append(done, match[1])
			cmd := exec.Command("/bin/sh", "-c", match[1])
			cmd.Dir, cmd.Env = dir, append(os.Environ(), "PATH="+bin+":"+os.Getenv("PATH"))
			out, err := cmd.CombinedOutput()
			if err != nil || !strings.Contains(string(out), "proved minimal") {
				t.Errorf("%s: %s: %v\n%s", path, match[1], err, out)
			}
			nothingLeft(t)
		}
	}
	if len(done) < 6 {
		t.Errorf("found only %q", done)
	}
}

// imageOf creates an image from bb with a page and a self-test. The image is removed when the test ends.
func imageOf(t *testing.T, name, change string) {
	t.Helper()
	made := "verify-examples-" + name
	mustExecute(t, "docker", "run", "--name", made, "bb", "sh", "-c", `mkdir /www && echo hello >/www/index.html && printf '#!/bin/sh\nexec chroot / true\n' >/selftest && chmod +x /selftest`)
	mustExecute(t, "docker", "commit", "--change", change, made, name)
	mustExecute(t, "docker", "rm", made)
	t.Cleanup(func() { mustExecute(t, "docker", "rmi", name) })
}

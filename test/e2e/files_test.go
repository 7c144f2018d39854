package e2e

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"unicode/utf8"
)

// accessed has the fields of a file in a report that the tests read.
type accessed struct {
	Capability, Program, Call, Path string
	Granted, OfTwo                  bool
	User                            uint32
	Count                           uint64
	Found, Directory                *place
}

type place struct {
	Path, Mode, Lacks string
	Owner, Group      uint32
	Link              bool
}

func (p *place) String() string {
	if p == nil {
		return "-"
	}
	text := fmt.Sprintf("%s %d:%d %s %s", p.Path, p.Owner, p.Group, p.Mode, p.Lacks)
	if p.Link {
		text += "link"
	}
	return strings.TrimSpace(text)
}

// filesIn returns the files of one container, or of all containers if the name is empty.
func filesIn(t *testing.T, stdout, name string) (files []accessed, unlisted uint64) {
	t.Helper()
	var report struct {
		Containers []struct {
			Name     string
			Files    []accessed
			Unlisted uint64
		}
	}
	if err := json.Unmarshal([]byte(stdout), &report); err != nil {
		t.Fatalf("%v: %s", err, stdout)
	}
	for _, c := range report.Containers {
		if name == "" || name == c.Name {
			files = append(files, c.Files...)
			unlisted += c.Unlisted
		}
	}
	return files, unlisted
}

// volume returns options of docker run that mount a new directory with files of user 1000 at /vol.
func volume(t *testing.T, names ...string) []string {
	t.Helper()
	directory := t.TempDir()
	for _, name := range names {
		path := filepath.Join(directory, name)
		if err := errors.Join(os.WriteFile(path, nil, 0o600), os.Chown(path, 1000, 1000), os.Chmod(path, 0o600)); err != nil {
			t.Fatal(err)
		}
	}
	return []string{"-v", directory + ":/vol"}
}

// The report names the files, so that users can change the files' owner instead of granting the capability. The
// container does not end, so that capmon finds all files.
func TestFilesThatNeedACapabilityAreNamed(t *testing.T) {
	t.Parallel()
	const script = `
		cat /data/secret
		cd /data && head secret
		ln -s /data/secret /tmp/link && wc /tmp/link
		probe open-at /data secret
		touch /home/user/new
		cp /bin/probe /tmp/changer && /tmp/changer chown-open /tmp/changer 7
		chmod 640 /tmp/changer
		touch /tmp/given && chown 5:6 /tmp/given
		tail /vol/file
		ln -s /data/secret /theirs && chown -h 8 /theirs && touch -h /theirs && busybox touch -c /theirs
		su user -c 'cat /root/x'
		mkdir /tmp/shared && touch /tmp/shared/f && chown 1000:1000 /tmp/shared && chmod 2750 /tmp/shared && sort /tmp/shared/f
		cp /bin/busybox /tmp/busybox && /tmp/busybox mv /home/user/new /home/user/old
		touch /vol/done; exec sleep 1000`
	options := volume(t, "file")
	directory, _, _ := strings.Cut(options[1], ":")
	o := watch(t)
	const name = "files-named"
	t.Cleanup(func() { _ = exec.Command("docker", "rm", "-f", name).Run() })
	mustExecute(t, slices.Concat([]string{"docker", "run", "-d", "--name", name}, options, []string{"bb", "sh", "-c", script})...)
	eventually(t, "the container is done", func() bool {
		_, err := os.Stat(filepath.Join(directory, "done"))
		return err == nil
	})
	files, _ := filesIn(t, o.interrupt().stdout, name)
	for _, test := range []struct{ capability, program, path, found, directory string }{
		{"DAC_OVERRIDE", "cat", "/data/secret", "/data/secret 1000:1000 0600", "-"},
		{"DAC_OVERRIDE", "head", "/data/secret", "/data/secret 1000:1000 0600", "-"},
		{"DAC_OVERRIDE", "wc", "/tmp/link", "/data/secret 1000:1000 0600", "-"},
		{"DAC_OVERRIDE", "probe", "/data/secret", "/data/secret 1000:1000 0600", "-"},
		{"DAC_OVERRIDE", "touch", "/home/user/new", "*", "/home/user 1000:1000 0755 write"},
		{"CHOWN", "changer", "/tmp/changer", "/tmp/changer 0:0 0755", "-"},
		{"FOWNER", "chmod", "/tmp/changer", "/tmp/changer 7:0 0640", "-"},
		{"CHOWN", "chown", "/tmp/given", "/tmp/given 5:6 0644", "-"},
		{"CHOWN", "chown", "/theirs", "/theirs 8:0 0777 link", "-"},
		{"FOWNER", "touch", "/theirs", "/theirs 8:0 0777 link", "-"},
		{"FOWNER", "busybox", "/theirs", "/data/secret 1000:1000 0600", "-"},
		{"DAC_OVERRIDE", "tail", "/vol/file", "/vol/file 1000:1000 0600", "-"},
		{"DAC_OVERRIDE", "cat", "/root/x", "-", "/root 0:0 0700 search"},
		{"DAC_OVERRIDE", "sort", "/tmp/shared/f", "/tmp/shared/f 0:0 0644", "/tmp/shared 1000:1000 2750 search"},
		{"DAC_OVERRIDE", "busybox", "/home/user/old", "*", "/home/user 1000:1000 0755 write"},
	} {
		i := slices.IndexFunc(files, func(f accessed) bool {
			return f.Capability == test.capability && f.Program == test.program && f.Path == test.path
		})
		if i < 0 {
			t.Errorf("%+v is not in the report", test)
			continue
		}
		found := files[i].Found.String()
		if test.found != "*" && found != test.found || files[i].Directory.String() != test.directory {
			t.Errorf("%+v: found %s, directory %s", test, found, files[i].Directory)
		}
	}
}

// Most of these processes, and perhaps their container, have ended before capmon can inspect them.
func TestFilesOfShortContainers(t *testing.T) {
	t.Parallel()
	const containers = 10
	commands := []string{binary, "profile", "-o", "json", "--", "sh", "-c", strings.Repeat("docker run --rm bb cat /data/secret;", containers)}
	files, unlisted := filesIn(t, mustExecute(t, commands...), "")
	if len(files) != containers || unlisted != 0 {
		t.Fatalf("%d files, %d unlisted", len(files), unlisted)
	}
	for _, file := range files {
		if file.Path != "/data/secret" || file.Found.String() != "/data/secret 1000:1000 0600" || file.User != 0 {
			t.Errorf("%+v, found %s", file, file.Found)
		}
	}
}

// The proposed change of the files' owner replaces the capability.
func TestChangingFileOwnersReplacesACapability(t *testing.T) {
	t.Parallel()
	options := volume(t, "file")
	directory, _, _ := strings.Cut(options[1], ":")
	run := func(grants ...string) []string {
		return slices.Concat([]string{"docker", "run", "--rm", "--cap-drop=ALL"}, options, grants, []string{"bb", "cat", "/vol/file"})
	}
	r := execute(t, slices.Concat([]string{binary, "profile", "-o", "json", "--"}, run("--cap-add=DAC_OVERRIDE"))...)
	c := parseReport(t, r)[0]
	const want = "DAC_OVERRIDE is used on /vol/file (owner 1000:1000, mode 0600): change their owner to the user that opens them, or allow the access in their modes"
	if !slices.ContainsFunc(c.Alternatives, func(a alternative) bool { return a.Text == want && len(a.Flags) == 0 }) {
		t.Fatalf("wanted %q, got %+v", want, c.Alternatives)
	}
	if r := execute(t, run()...); r.code == 0 {
		t.Error("it works with neither the capability nor the change")
	}
	if err := os.Chown(filepath.Join(directory, "file"), 0, 0); err != nil {
		t.Fatal(err)
	}
	mustExecute(t, run()...)
}

// A table shows the files. Their names cannot control the terminal.
func TestFileNamesCannotControlTheTerminal(t *testing.T) {
	t.Parallel()
	const escape = "\x1b[2J\x1b]0;t\x07"
	names := []string{escape, "two\nlines", "\xff\xfe", strings.Repeat("n", 255), `"quoted" (owner 0:0, mode 0777)`}
	command := slices.Concat([]string{"docker", "run", "--rm"}, volume(t, names...), []string{"bb", "sh", "-c", "cat /vol/*"})
	out := mustExecute(t, slices.Concat([]string{binary, "profile", "--all", "--"}, command)...)
	for _, want := range []string{
		`on "/vol/\x1b[2J\x1b]0;t\a" (owner 1000:1000, mode 0600)`, `on /vol/two\nlines (`, `on /vol/\xff\xfe (`,
		"on /vol/" + strings.Repeat("n", 159-len("/vol/")) + "… (not found afterwards)",
		`on "/vol/\"quoted\" (owner 0:0, mode 0777)" (owner 1000:1000, mode 0600)`,
	} {
		if !strings.Contains(out, want) {
			t.Errorf("%q is not in the output:\n%q", want, out)
		}
	}
	if strings.ContainsAny(out, "\x1b\x07") || !utf8.ValidString(out) {
		t.Errorf("raw bytes: %q", out)
	}
}

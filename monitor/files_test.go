package monitor

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/capmon/capmon/bpf"
	"github.com/capmon/capmon/capability"
	"github.com/capmon/capmon/syscalls"
)

// foreignFiles creates a directory with files that do not belong to the container's root user. It returns options of
// docker run that mount the directory at /foreign.
func foreignFiles(t *testing.T, names ...string) (options []string) {
	t.Helper()
	directory := t.TempDir()
	for _, name := range names {
		path := filepath.Join(directory, name)
		err := errors.Join(os.MkdirAll(filepath.Dir(path), 0o755), os.WriteFile(path, nil, 0o600), os.Chown(path, 1000, 1000))
		if err != nil {
			t.Fatal(err)
		}
	}
	return []string{"-v", directory + ":/foreign"}
}

// filesOf returns the files of a program's checks of a capability.
func filesOf(c ContainerRecord, program string, checked capability.Capability) []FileUse {
	return slices.DeleteFunc(slices.Clone(c.Files), func(use FileUse) bool { return use.Program != program || use.Capability != checked })
}

func sum(files []FileUse) (n uint64) {
	for _, use := range files {
		n += use.Count
	}
	return n
}

// grantedChecks returns the granted checks of a program for a capability.
func grantedChecks(c ContainerRecord, program string, checked capability.Capability) []Check {
	return matching(c, func(check Check) bool {
		return check.Program == program && check.Capability == checked && check.Phase == Workload && check.Credential == OwnCredential && check.Answer == Held
	})
}

func TestSystemCallsNameTheirFiles(t *testing.T) {
	m := start(t, Options{Outcomes: true})
	id := run(t, append(foreignFiles(t, "file"), "bb", "sh", "-c", `
		cat /data/secret
		cd /data && head secret
		probe open-at /data secret
		chmod 640 /data/secret
		cp /bin/probe /tmp/changer && /tmp/changer chown-open /tmp/changer 7
		cd /foreign && tail file
		mv /home/user /home/users && mkdir /jail && cp /bin/busybox /jail/ && cd / && touch /jail/own && chroot /jail /busybox chown 9 /own
		cp /bin/probe /tmp/two && chown 1000 /data && mv /data/secret /data/moved`)...)
	c := find(t, m, id)
	for _, test := range []struct {
		program    string
		capability capability.Capability
		naming     Naming
		path, base string
		ofTwo      uint8
	}{
		{"cat", capability.DACOverride, ByPath, "/data/secret", "/", 0},
		{"head", capability.DACOverride, ByPath, "secret", "/data", 0},
		{"probe", capability.DACOverride, ByPath, "secret", "/data", 0},
		{"chmod", capability.Fowner, ByPath, "/data/secret", "/", 0},
		{"changer", capability.Chown, ByDescriptor, "", "/tmp/changer", 0},
		{"tail", capability.DACOverride, ByPath, "file", "/foreign", 0},
		{"busybox", capability.Chown, ByPath, "/own", "/jail", 0},
		{"mv", capability.DACOverride, ByPath, "/data/secret", "/", 1},
		{"mv", capability.DACOverride, ByPath, "/data/moved", "/", 2},
	} {
		i := slices.IndexFunc(c.Files, func(use FileUse) bool {
			return use.Program == test.program && use.Capability == test.capability && use.Granted && use.Naming == test.naming &&
				use.Path == test.path && use.Base.Path == test.base && use.WhichOfTwo == test.ofTwo
		})
		if i < 0 {
			t.Errorf("missing: %+v; %+v", test, filesOf(c, test.program, test.capability))
			continue
		}
		if use := c.Files[i]; use.Cut || use.Base.Cut || use.UID != 0 || use.GID != 0 || use.Count == 0 || len(use.Stack) == 0 {
			t.Errorf("%+v", use)
		}
	}
	if open := filesOf(c, "changer", capability.Chown); len(open) != 1 || open[0].Base.Owner != 0 || open[0].Base.Mode&0o777 != 0o755 {
		t.Errorf("the file does not have the owner before the change: %+v", open)
	}
	lossless(t, snapshot(t, m))
}

// A link and its target are different files with different owners. The links are not in /tmp: in world-writable
// directories many systems do not follow links of other users (fs.protected_symlinks).
func TestCallsThatDoNotFollowLinks(t *testing.T) {
	m := start(t, Options{})
	c := find(t, m, run(t, "bb", "sh", "-c", `
		ln -s /data/secret /link && chown -h 1000 /link && touch -h /link
		/bin/busybox touch -c /link
		chmod 640 /link`))
	for _, test := range []struct {
		program    string
		capability capability.Capability
		call       string
		link       bool
	}{
		{"chown", capability.Chown, "", true},
		{"touch", capability.Fowner, "utimensat", true},
		{"busybox", capability.Fowner, "utimensat", false},
		{"chmod", capability.Fowner, "", false},
	} {
		uses := filesOf(c, test.program, test.capability)
		if len(uses) != 1 || uses[0].Path != "/link" || uses[0].NoFollow != test.link || test.call != "" && uses[0].Call != test.call {
			t.Errorf("%+v: got %+v", test, uses)
		}
	}
}

// The flags argument has different positions, and the flag can have the opposite meaning.
func TestFlagsThatPreventFollowingLinks(t *testing.T) {
	for name, want := range map[string]struct {
		flags       uint8
		mask, links uint32
	}{
		"chown": {}, "fchmodat": {}, "fchownat": {5, 0x100, 0x100}, "statx": {3, 0x100, 0x100}, "fstatat64": {4, 0x100, 0x100},
		"utimensat_time64": {4, 0x100, 0x100}, "linkat": {5, 0x400, 0}, "openat": {3, unix.O_NOFOLLOW, unix.O_NOFOLLOW},
	} {
		if rule := fileRule(name); rule.FlagsArg != want.flags || rule.NofollowMask != want.mask || rule.NofollowFlags != want.links {
			t.Errorf("%s: %+v", name, rule)
		}
	}
}

// capmon records the file of each of the first checks.
func TestFilesOfTheFirstChecksAreRecorded(t *testing.T) {
	const files = filesEach
	names := make([]string, files)
	for i := range names {
		names[i] = fmt.Sprintf("%03d", i)
	}
	m := start(t, Options{})
	id := run(t, append(foreignFiles(t, names...), "bb", "sh", "-c", "cat /foreign/*")...)
	c := find(t, m, id)
	read := filesOf(c, "cat", capability.DACOverride)
	for _, name := range names {
		if !slices.ContainsFunc(read, func(use FileUse) bool { return use.Path == "/foreign/"+name && use.Count == 1 }) {
			t.Errorf("%s is not listed with one check", name)
		}
	}
	if made := total(grantedChecks(c, "cat", capability.DACOverride)); len(read) != files || made != uint64(files) || c.Unlisted != 0 {
		t.Errorf("%d files, %d checks, %d not listed", len(read), made, c.Unlisted)
	}
}

// filesEach is the number of files of each kind that a container may have.
const filesEach = int(bpf.CapmonLimitsFILES_QUOTA)

// Files that do not fit are counted, and do not use the room of other capabilities and containers.
func TestFilesThatDoNotFitAreCounted(t *testing.T) {
	names := make([]string, 2*filesEach)
	for i := range names {
		names[i] = fmt.Sprintf("%03d", i)
	}
	m := start(t, Options{})
	id := run(t, append(foreignFiles(t, names...), "bb", "sh", "-c", `
		for i in /foreign/*; do cat $i; done; head /foreign/?[0-4]0; chmod 600 /data/secret`)...)
	other := run(t, "bb", "cat", "/data/secret")
	c := find(t, m, id)
	read := filesOf(c, "cat", capability.DACOverride)
	if len(read) != filesEach {
		t.Errorf("%d files, wanted %d", len(read), filesEach)
	}
	made := total(grantedChecks(c, "cat", capability.DACOverride))
	more := total(grantedChecks(c, "head", capability.DACOverride))
	if made != uint64(len(names)) || more == 0 || len(filesOf(c, "head", capability.DACOverride)) != 0 {
		t.Errorf("%d and %d checks, the files of the second: %+v", made, more, filesOf(c, "head", capability.DACOverride))
	}
	if c.Unlisted < more || c.Unlisted > made+more-sum(read) {
		t.Errorf("%d checks are not listed, of %d and %d checks; %d are", c.Unlisted, made, more, sum(read))
	}
	if len(filesOf(c, "chmod", capability.Fowner)) != 1 {
		t.Error("a file of another capability did not fit")
	}
	if others := find(t, m, other); len(others.Files) != 1 || others.Unlisted != 0 {
		t.Errorf("another container: %+v", others.Files)
	}
}

// capmon counts frequent checks about a file as exactly as other checks.
func TestFrequentChecksOfAFileAreCounted(t *testing.T) {
	const often = 100_000
	m := start(t, Options{Outcomes: true})
	c := find(t, m, run(t, "bb", "probe", "repeat", fmt.Sprint(often), "access-w", "/data/secret"))
	if made := total(grantedChecks(c, "probe", capability.DACOverride)); made != often {
		t.Errorf("%d checks, wanted %d", made, often)
	}
	read := filesOf(c, "probe", capability.DACOverride)
	if len(read) != 1 || read[0].Path != "/data/secret" || read[0].Count < uint64(filesEach) || read[0].Count > often {
		t.Errorf("%+v", read)
	}
	lossless(t, snapshot(t, m))
}

// The container chooses the names of files.
func TestHostileNamesOfFiles(t *testing.T) {
	const escape, newline, bytes = "\x1b]0;t\x07\x1b[2J", "two\nlines", "\xff\xfe\x80"
	long := strings.Repeat("n", 255)
	deep := strings.Repeat("directory/", 30) + "file"
	m := start(t, Options{})
	c := find(t, m, run(t, append(foreignFiles(t, escape, newline, bytes, long, deep, "a"), "bb", "sh", "-c", `
		cat /foreign/* /foreign/`+deep+`; cd /foreign/`+filepath.Dir(deep)+` && tail file; cd /
		head /foreign//`+strings.Repeat("./", 74)+`a; wc /foreign///`+strings.Repeat("./", 74)+`a`)...))
	read := filesOf(c, "cat", capability.DACOverride)
	for _, name := range []string{escape, newline, bytes} {
		if !slices.ContainsFunc(read, func(use FileUse) bool { return use.Path == "/foreign/"+name && !use.Cut }) {
			t.Errorf("%q is not listed", name)
		}
	}
	const length = 159
	for _, path := range []string{"/foreign/" + long, "/foreign/" + deep} {
		if !slices.ContainsFunc(read, func(use FileUse) bool { return use.Path == path[:length] && use.Cut }) {
			t.Errorf("%q is not listed, or not cut: %+v", path, read)
		}
	}
	below := filesOf(c, "tail", capability.DACOverride)
	if len(below) != 1 || below[0].Path != "file" || !below[0].Base.Cut || !strings.HasSuffix(below[0].Base.Path, "/directory/directory") {
		t.Errorf("in a directory whose path is too long: %+v", below)
	}
	full, over := filesOf(c, "head", capability.DACOverride), filesOf(c, "wc", capability.DACOverride)
	if len(full) != 1 || full[0].Cut || len(full[0].Path) != length || len(over) != 1 || !over[0].Cut || len(over[0].Path) != length {
		t.Errorf("paths of the largest length, and longer: %+v, %+v", full, over)
	}
}

// capmon counts a check even if it cannot read the name of the file.
func TestNamesThatCannotBeRead(t *testing.T) {
	const often = 60
	m := start(t, Options{})
	c := find(t, m, run(t, "bb", "probe", "open-unmapped", "/data/secret", fmt.Sprint(often)))
	read := filesOf(c, "probe", capability.DACOverride)
	if made := total(grantedChecks(c, "probe", capability.DACOverride)); made != often || sum(read) != often {
		t.Errorf("%d checks, %d of files: %+v", made, sum(read), read)
	}
	for _, use := range read {
		if use.Path != "/data/secret" && (use.Naming != Unnamed || use.Path != "") {
			t.Errorf("%+v", use)
		}
	}
}

func TestEventsAnnounceFiles(t *testing.T) {
	m := start(t, Options{})
	id := run(t, "bb", "cat", "/data/secret")
	for {
		event, err := m.Next()
		if err != nil {
			t.Fatal(err)
		}
		if event.ID == id && event.File != nil {
			if use := event.File; use.Path != "/data/secret" || use.Program != "cat" || use.Capability != capability.DACOverride || !use.Granted || use.PID != event.PID {
				t.Errorf("%+v", use)
			}
			return
		}
	}
}

// The kernel's tables of system calls contain each name.
func TestCallsThatNameFilesExist(t *testing.T) {
	known := make(map[string]bool)
	for nr := range maxCalls {
		for _, arch := range []syscalls.Arch{syscalls.NativeArch(), syscalls.NativeArch().Compat()} {
			known[arch.SyscallName(nr)] = true
		}
	}
	for name := range fileCalls {
		if !known[name] && !slices.ContainsFunc(nameSuffixes, func(ending string) bool { return known[name+ending] }) {
			t.Errorf("%s is not a system call", name)
		}
	}
}

func TestCallsOf32BitProgramsNameTheSameFiles(t *testing.T) {
	for wide, narrow := range map[string]string{"fchown32": "fchown", "lchown32": "lchown", "stat64": "stat", "fstatat64": "fstatat", "utimensat_time64": "utimensat"} {
		if got, want := fileRule(wide), fileRule(narrow); got != want || got == fileRule("getpid") {
			t.Errorf("%s: got %+v, wanted %+v", wide, got, want)
		}
	}
}

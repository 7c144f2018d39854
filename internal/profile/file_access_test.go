package profile

import (
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/capmon/capmon/capability"
	"github.com/capmon/capmon/internal/classify"
	"github.com/capmon/capmon/internal/kernel"
	"github.com/capmon/capmon/monitor"
)

// directory and file return nodes of a path walk.
func directory(path string, owner, mode uint32) kernel.Node {
	return kernel.Node{Path: path, Owner: owner, Group: owner, Mode: 0o40000 | mode}
}

func file(path string, owner, mode uint32) *kernel.Node {
	return &kernel.Node{Path: path, Owner: owner, Group: owner, Mode: 0o100000 | mode}
}

func TestTheDenyingDirectoryIsReported(t *testing.T) {
	open, closedHome := directory("/", 0, 0o755), directory("/home", 1000, 0o700)
	home := directory("/home", 1000, 0o755)
	for name, test := range map[string]struct {
		call       string
		stack      []string
		user       uint32
		walk       kernel.PathWalk
		want       string // "" for none
		capability capability.Capability
	}{
		"the file itself":                    {"openat", []string{"may_open"}, 0, kernel.PathWalk{Directories: []kernel.Node{open, home}, File: file("/home/f", 1000, 0o600)}, "", capability.DACOverride},
		"a directory on the path":            {"openat", nil, 0, kernel.PathWalk{Directories: []kernel.Node{open, closedHome}, File: file("/home/f", 0, 0o644)}, "/home search", capability.DACReadSearch},
		"the owner may search it":            {"openat", nil, 1000, kernel.PathWalk{Directories: []kernel.Node{open, closedHome}, File: file("/home/f", 0, 0o600)}, "", capability.DACOverride},
		"a new file":                         {"openat", []string{"path_openat"}, 0, kernel.PathWalk{Directories: []kernel.Node{open, home}}, "/home write", capability.DACOverride},
		"a new file that exists now":         {"open", []string{"path_openat"}, 0, kernel.PathWalk{Directories: []kernel.Node{open, home}, File: file("/home/f", 5, 0o600)}, "/home write", capability.DACOverride},
		"a removed file":                     {"unlink", nil, 5, kernel.PathWalk{Directories: []kernel.Node{open, home}, File: file("/home/f", 5, 0o600)}, "/home write", capability.DACOverride},
		"a truncated file":                   {"truncate", nil, 5, kernel.PathWalk{Directories: []kernel.Node{open, home}, File: file("/home/f", 0, 0o600)}, "", capability.DACOverride},
		"the group may, possibly the user's": {"openat", nil, 5, kernel.PathWalk{Directories: []kernel.Node{open, directory("/home", 1000, 0o750)}}, "/home write", capability.DACOverride},
		"the user may not be in the group":   {"openat", []string{"inode_permission", "link_path_walk"}, 5, kernel.PathWalk{Directories: []kernel.Node{open, directory("/home", 1000, 0o2750)}}, "/home search", capability.DACOverride},
		"a further directory":                {"stat", []string{"link_path_walk"}, 5, kernel.PathWalk{Directories: []kernel.Node{open, directory("/home", 1000, 0o750), directory("/home/own", 1000, 0o700)}}, "/home/own search", capability.DACOverride},
		"a new file, writable by the group":  {"openat", []string{"path_openat"}, 5, kernel.PathWalk{Directories: []kernel.Node{open, directory("/home", 1000, 0o775)}}, "/home write", capability.DACOverride},
		"a new file that is searched":        {"mkdir", []string{"link_path_walk"}, 5, kernel.PathWalk{Directories: []kernel.Node{open, directory("/home", 1000, 0o750)}}, "/home search", capability.DACOverride},
		"a different capability":             {"chown", nil, 5, kernel.PathWalk{Directories: []kernel.Node{open, closedHome}}, "", capability.Chown},
		"an unknown path":                    {"openat", nil, 0, kernel.PathWalk{}, "", capability.DACOverride},
	} {
		use := monitor.FileUse{Capability: test.capability, Call: test.call, Stack: test.stack, UID: test.user, GID: test.user, Naming: monitor.ByPath}
		got := ""
		if found := newFile(use, test.walk).Directory; found != nil {
			got = found.Path + " " + found.Lacks
		}
		if got != test.want {
			t.Errorf("%s: got %q, wanted %q", name, got, test.want)
		}
	}
}

func TestPathsInTheContainer(t *testing.T) {
	base := func(path string, cut bool) monitor.FileBase {
		return monitor.FileBase{File: monitor.FileID{Device: 1, Inode: 2}, Path: path, Cut: cut}
	}
	for want, use := range map[string]monitor.FileUse{
		"/a/b":       {Naming: monitor.ByPath, Path: "/a/b", Base: base("/", false)},
		"/jail/a":    {Naming: monitor.ByPath, Path: "/a", Base: base("/jail", false)},
		"/data/../b": {Naming: monitor.ByPath, Path: "../b", Base: base("/data", false)},
		"/b":         {Naming: monitor.ByPath, Path: "b", Base: base("/", false)},
		"/data/b…":   {Naming: monitor.ByPath, Path: "b", Cut: true, Base: base("/data", false)},
		"…/deep/b":   {Naming: monitor.ByPath, Path: "b", Base: base("/deep", true)},
		"relative":   {Naming: monitor.ByPath, Path: "relative"},
		"/open/file": {Naming: monitor.ByDescriptor, Base: base("/open/file", false)},
		"":           {Naming: monitor.ByDescriptor},
	} {
		if got := pathInContainer(use); got != want {
			t.Errorf("%+v: got %q, wanted %q", use, got, want)
		}
	}
}

func TestRecordHasTheFiles(t *testing.T) {
	c := seen()
	c.Unlisted = 7
	use := monitor.FileUse{
		Capability: capability.DACOverride, Granted: true, Call: "openat", Program: "cat", Naming: monitor.ByPath, Path: "/link", Count: 2,
		Base: monitor.FileBase{File: monitor.FileID{Inode: 2}, Path: "/"}, Stack: []string{"may_open"},
	}
	open := monitor.FileUse{
		Capability: capability.Chown, Granted: true, Call: "fchown", Program: "cp", Naming: monitor.ByDescriptor, Count: 1,
		Base: monitor.FileBase{File: monitor.FileID{Inode: 3}, Path: "/f", Owner: 5, Group: 6, Mode: 0o104755},
	}
	again := use
	again.PID = 9
	c.Files = []monitor.FileUse{use, open, again}
	walks := map[PathQuery]kernel.PathWalk{PathQueryOf(c.Cgroup, use): {File: file("/data/secret", 1000, 0o600)}}
	run := Record(snapshot(c), observation, Sources{Walks: walks, Last: capability.CheckpointRestore})[0]
	want := []File{
		{Capability: capability.Chown, Granted: true, Program: "cp", Call: "fchown", Path: "/f", Count: 1, Found: &FileInfo{Path: "/f", Owner: 5, Group: 6, Mode: "4755"}},
		{
			Capability: capability.DACOverride, Granted: true, Program: "cat", Call: "openat", Site: "may_open", Path: "/link", Count: 4,
			Found: &FileInfo{Path: "/data/secret", Owner: 1000, Group: 1000, Mode: "0600"},
		},
	}
	if diff := cmp.Diff(want, run.Files); diff != "" || run.Unlisted != 7 {
		t.Errorf("%d unlisted, %s", run.Unlisted, diff)
	}
}

// The same path may mean a link or its target, even in the same system call.
func TestALinkIsADifferentFileThanItsTarget(t *testing.T) {
	c := seen()
	followed := monitor.FileUse{
		Capability: capability.Fowner, Granted: true, Call: "utimensat", Program: "touch", Naming: monitor.ByPath, Path: "/link", Count: 1,
		Base: monitor.FileBase{File: monitor.FileID{Inode: 2}, Path: "/"},
	}
	itself := followed
	itself.NoFollow = true
	c.Files = []monitor.FileUse{followed, itself}
	link := kernel.Node{Path: "/link", Owner: 5, Group: 5, Mode: 0o120777}
	walks := map[PathQuery]kernel.PathWalk{PathQueryOf(c.Cgroup, followed): {File: file("/file", 6, 0o600)}, PathQueryOf(c.Cgroup, itself): {File: &link}}
	var got []string
	for _, file := range Record(snapshot(c), observation, Sources{Walks: walks, Last: capability.CheckpointRestore})[0].Files {
		got = append(got, file.String())
	}
	if diff := cmp.Diff([]string{"/link (/file, owner 6:6, mode 0600)", "/link (a link, owner 5:5)"}, got); diff != "" {
		t.Error(diff)
	}
}

// The text must not depend on whether capmon reads the file before or after the change.
func TestOwnerAndModeThatTheCallChangesAreOmitted(t *testing.T) {
	for want, call := range map[string]string{
		"/data/f":                        "fchownat",
		"/data/f (owner 6:6, mode 0600)": "fchown", // for a descriptor, owner and mode are those at the check
	} {
		use := monitor.FileUse{
			Capability: capability.Chown, Granted: true, Call: call, Program: "chown", Naming: monitor.ByPath, Path: "/data/f", Count: 1,
			Base: monitor.FileBase{File: monitor.FileID{Inode: 2}, Path: "/"},
		}
		if got := newFile(use, kernel.PathWalk{File: file("/data/f", 6, 0o600)}).String(); got != want {
			t.Errorf("%s: got %q, wanted %q", call, got, want)
		}
	}
}

// If the container's layer is gone, so are its changes to the file.
func TestFilesOfTheImageAreMarked(t *testing.T) {
	use := monitor.FileUse{
		Capability: capability.DACOverride, Granted: true, Call: "truncate", Program: "cat", UID: 5, Naming: monitor.ByPath, Path: "/data/f", Count: 1,
		Base: monitor.FileBase{File: monitor.FileID{Inode: 2}, Path: "/"},
	}
	image := func(node kernel.Node) kernel.Node {
		node.Image = true
		return node
	}
	secret := image(*file("/data/f", 6, 0o600))
	closed := kernel.PathWalk{Directories: []kernel.Node{image(directory("/data", 0, 0o700))}, File: &secret}
	reachable := kernel.PathWalk{Directories: []kernel.Node{image(directory("/data", 0, 0o755))}, File: &secret}
	for want, walk := range map[string]kernel.PathWalk{
		"/data/f: user 5 may have no search permission for /data (owner 0:0, mode 0700 in the image)": closed,
		"/data/f (owner 6:6, mode 0600 in the image)":                                                 reachable,
	} {
		if got := newFile(use, walk).String(); got != want {
			t.Errorf("got %q, wanted %q", got, want)
		}
	}
	seen := kernel.PathWalk{File: file("/data/f", 7, 0o600)}
	added := addUpFiles([]File{newFile(use, reachable), newFile(use, seen)})
	if len(added) != 1 || added[0].String() != "/data/f (owner 7:7, mode 0600)" {
		t.Errorf("the file of the container does not replace that of the image: %v", added)
	}
}

// FilesOf must not claim that the files are complete if that is not known.
func TestFilesOfUses(t *testing.T) {
	openat := UsePattern{Capability: capability.DACOverride, Class: classify.Required, Granted: true, Program: "cat", Call: "openat(O_RDONLY)", Site: "may_open", Count: 3}
	other := openat
	other.Site = "path_openat"
	one := File{Capability: capability.DACOverride, Granted: true, Program: "cat", Call: "openat", Site: "may_open", Path: "/a", Count: 2}
	two := one
	two.Path, two.Count = "/b", 1
	elsewhere := one
	elsewhere.Site = "link_path_walk"
	otherCredential := openat
	otherCredential.Class = classify.OtherCredential
	for name, test := range map[string]struct {
		all    []UsePattern
		files  []File
		of     []UsePattern
		want   int
		others bool
	}{
		"all":                    {[]UsePattern{openat}, []File{one, two}, []UsePattern{openat}, 2, false},
		"some":                   {[]UsePattern{openat}, []File{one}, []UsePattern{openat}, 1, true},
		"none":                   {[]UsePattern{openat}, nil, []UsePattern{openat}, 0, true},
		"of one pattern of use":  {[]UsePattern{openat, other}, []File{one, two, elsewhere}, []UsePattern{openat}, 2, false},
		"of two patterns of use": {[]UsePattern{openat, other}, []File{one, two}, []UsePattern{openat, other}, 2, true},
		"other credentials":      {[]UsePattern{openat, otherCredential}, []File{one, two}, []UsePattern{openat}, 2, false},
		"no uses":                {nil, []File{one}, nil, 0, false},
	} {
		files, others := Summary{Uses: test.all, Files: test.files}.FilesOf(test.of)
		if len(files) != test.want || others != test.others {
			t.Errorf("%s: %d files, others %t", name, len(files), others)
		}
	}
}

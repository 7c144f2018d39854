package profile

import (
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/capmon/capmon/internal/capability"
	"github.com/capmon/capmon/internal/classify"
	"github.com/capmon/capmon/internal/kernel"
	"github.com/capmon/capmon/monitor"
)

// directory and file are nodes of a way.
func directory(path string, owner, mode uint32) kernel.Node {
	return kernel.Node{Path: path, Owner: owner, Group: owner, Mode: 0o40000 | mode}
}

func file(path string, owner, mode uint32) *kernel.Node {
	return &kernel.Node{Path: path, Owner: owner, Group: owner, Mode: 0o100000 | mode}
}

func TestTheDirectoryIsNamedThatDeniesAFile(t *testing.T) {
	open, closedHome := directory("/", 0, 0o755), directory("/home", 1000, 0o700)
	home := directory("/home", 1000, 0o755)
	for name, test := range map[string]struct {
		call     string
		stack    []string
		user     uint32
		way      kernel.Way
		want     string // "" for none
		capacity capability.Capability
	}{
		"the file itself":               {"openat", []string{"may_open"}, 0, kernel.Way{Directories: []kernel.Node{open, home}, File: file("/home/f", 1000, 0o600)}, "", capability.DACOverride},
		"a directory on the way":        {"openat", nil, 0, kernel.Way{Directories: []kernel.Node{open, closedHome}, File: file("/home/f", 0, 0o644)}, "/home search", capability.DACReadSearch},
		"its owner may pass":            {"openat", nil, 1000, kernel.Way{Directories: []kernel.Node{open, closedHome}, File: file("/home/f", 0, 0o600)}, "", capability.DACOverride},
		"a new file":                    {"openat", []string{"path_openat"}, 0, kernel.Way{Directories: []kernel.Node{open, home}}, "/home write", capability.DACOverride},
		"a new file, there since":       {"open", []string{"path_openat"}, 0, kernel.Way{Directories: []kernel.Node{open, home}, File: file("/home/f", 5, 0o600)}, "/home write", capability.DACOverride},
		"a file that is removed":        {"unlink", nil, 5, kernel.Way{Directories: []kernel.Node{open, home}, File: file("/home/f", 5, 0o600)}, "/home write", capability.DACOverride},
		"a file whose length changes":   {"truncate", nil, 5, kernel.Way{Directories: []kernel.Node{open, home}, File: file("/home/f", 0, 0o600)}, "", capability.DACOverride},
		"a group that may, perhaps its": {"openat", nil, 5, kernel.Way{Directories: []kernel.Node{open, directory("/home", 1000, 0o750)}}, "/home write", capability.DACOverride},
		"a group that may not be its":   {"openat", []string{"inode_permission", "link_path_walk"}, 5, kernel.Way{Directories: []kernel.Node{open, directory("/home", 1000, 0o2750)}}, "/home search", capability.DACOverride},
		"a directory behind such a one": {"stat", []string{"link_path_walk"}, 5, kernel.Way{Directories: []kernel.Node{open, directory("/home", 1000, 0o750), directory("/home/own", 1000, 0o700)}}, "/home/own search", capability.DACOverride},
		"a new file of such a group":    {"openat", []string{"path_openat"}, 5, kernel.Way{Directories: []kernel.Node{open, directory("/home", 1000, 0o775)}}, "/home write", capability.DACOverride},
		"a new file that is searched":   {"mkdir", []string{"link_path_walk"}, 5, kernel.Way{Directories: []kernel.Node{open, directory("/home", 1000, 0o750)}}, "/home search", capability.DACOverride},
		"another capability":            {"chown", nil, 5, kernel.Way{Directories: []kernel.Node{open, closedHome}}, "", capability.Chown},
		"a way that is not known":       {"openat", nil, 0, kernel.Way{}, "", capability.DACOverride},
	} {
		use := monitor.FileUse{Capability: test.capacity, Call: test.call, Stack: test.stack, UID: test.user, GID: test.user, Naming: monitor.ByPath}
		got := ""
		if found := newFile(use, test.way).Directory; found != nil {
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
		if got := pathOf(use); got != want {
			t.Errorf("%+v: got %q, wanted %q", use, got, want)
		}
	}
}

func TestRecordTellsOfFiles(t *testing.T) {
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
	ways := map[Named]kernel.Way{NamedBy(c.Cgroup, use): {File: file("/data/secret", 1000, 0o600)}}
	run := Record(snapshot(c), observation, Sources{Ways: ways, Last: capability.CheckpointRestore})[0]
	want := []File{
		{Capability: capability.Chown, Granted: true, Program: "cp", Call: "fchown", Path: "/f", Count: 1, Found: &Place{Path: "/f", Owner: 5, Group: 6, Mode: "4755"}},
		{
			Capability: capability.DACOverride, Granted: true, Program: "cat", Call: "openat", Site: "may_open", Path: "/link", Count: 4,
			Found: &Place{Path: "/data/secret", Owner: 1000, Group: 1000, Mode: "0600"},
		},
	}
	if diff := cmp.Diff(want, run.Files); diff != "" || run.Unlisted != 7 {
		t.Errorf("%d unlisted, %s", run.Unlisted, diff)
	}
}

// The same path may mean a link or what it points to, even of one system call.
func TestALinkIsAnotherFileThanWhatItPointsTo(t *testing.T) {
	c := seen()
	followed := monitor.FileUse{
		Capability: capability.Fowner, Granted: true, Call: "utimensat", Program: "touch", Naming: monitor.ByPath, Path: "/link", Count: 1,
		Base: monitor.FileBase{File: monitor.FileID{Inode: 2}, Path: "/"},
	}
	itself := followed
	itself.Link = true
	c.Files = []monitor.FileUse{followed, itself}
	link := kernel.Node{Path: "/link", Owner: 5, Group: 5, Mode: 0o120777}
	ways := map[Named]kernel.Way{NamedBy(c.Cgroup, followed): {File: file("/file", 6, 0o600)}, NamedBy(c.Cgroup, itself): {File: &link}}
	var got []string
	for _, file := range Record(snapshot(c), observation, Sources{Ways: ways, Last: capability.CheckpointRestore})[0].Files {
		got = append(got, file.String())
	}
	if diff := cmp.Diff([]string{"/link (/file, owner 6:6, mode 0600)", "/link (a link, owner 5:5)"}, got); diff != "" {
		t.Error(diff)
	}
}

// Whether capmon came to look before or after the change, it says the same.
func TestWhatTheCallItselfChangesIsNotTold(t *testing.T) {
	for want, call := range map[string]string{
		"/data/f":                        "fchownat",
		"/data/f (owner 6:6, mode 0600)": "fchown", // a descriptor's, as it was at the check
	} {
		use := monitor.FileUse{
			Capability: capability.Chown, Granted: true, Call: call, Program: "chown", Naming: monitor.ByPath, Path: "/data/f", Count: 1,
			Base: monitor.FileBase{File: monitor.FileID{Inode: 2}, Path: "/"},
		}
		if got := newFile(use, kernel.Way{File: file("/data/f", 6, 0o600)}).String(); got != want {
			t.Errorf("%s: got %q, wanted %q", call, got, want)
		}
	}
}

// What was changed is gone with the container.
func TestWhatIsFromTheImageIsNoMoreThanThat(t *testing.T) {
	use := monitor.FileUse{
		Capability: capability.DACOverride, Granted: true, Call: "truncate", Program: "cat", UID: 5, Naming: monitor.ByPath, Path: "/data/f", Count: 1,
		Base: monitor.FileBase{File: monitor.FileID{Inode: 2}, Path: "/"},
	}
	image := func(node kernel.Node) kernel.Node {
		node.Image = true
		return node
	}
	secret := image(*file("/data/f", 6, 0o600))
	closed := kernel.Way{Directories: []kernel.Node{image(directory("/data", 0, 0o700))}, File: &secret}
	reachable := kernel.Way{Directories: []kernel.Node{image(directory("/data", 0, 0o755))}, File: &secret}
	for want, way := range map[string]kernel.Way{
		"/data/f: /data (owner 0:0, mode 0700 in the image) may not let user 5 search": closed,
		"/data/f (owner 6:6, mode 0600 in the image)":                                  reachable,
	} {
		if got := newFile(use, way).String(); got != want {
			t.Errorf("got %q, wanted %q", got, want)
		}
	}
	seen := kernel.Way{File: file("/data/f", 7, 0o600)}
	added := addUpFiles([]File{newFile(use, reachable), newFile(use, seen)})
	if len(added) != 1 || added[0].String() != "/data/f (owner 7:7, mode 0600)" {
		t.Errorf("what was seen in the container does not go first: %v", added)
	}
}

// What is not known is not claimed: that the files are all there are.
func TestFilesOfUses(t *testing.T) {
	openat := Use{Capability: capability.DACOverride, Class: classify.Required, Granted: true, Program: "cat", Call: "openat(O_RDONLY)", Site: "may_open", Count: 3}
	other := openat
	other.Site = "path_openat"
	one := File{Capability: capability.DACOverride, Granted: true, Program: "cat", Call: "openat", Site: "may_open", Path: "/a", Count: 2}
	two := one
	two.Path, two.Count = "/b", 1
	elsewhere := one
	elsewhere.Site = "link_path_walk"
	borrowed := openat
	borrowed.Class = classify.OtherCredential
	for name, test := range map[string]struct {
		all    []Use
		files  []File
		of     []Use
		want   int
		others bool
	}{
		"all":                     {[]Use{openat}, []File{one, two}, []Use{openat}, 2, false},
		"some":                    {[]Use{openat}, []File{one}, []Use{openat}, 1, true},
		"none":                    {[]Use{openat}, nil, []Use{openat}, 0, true},
		"of one way only":         {[]Use{openat, other}, []File{one, two, elsewhere}, []Use{openat}, 2, false},
		"of two ways":             {[]Use{openat, other}, []File{one, two}, []Use{openat, other}, 2, true},
		"those of the mounter's":  {[]Use{openat, borrowed}, []File{one, two}, []Use{openat}, 2, false},
		"of no use that is there": {nil, []File{one}, nil, 0, false},
	} {
		files, others := Summary{Uses: test.all, Files: test.files}.FilesOf(test.of)
		if len(files) != test.want || others != test.others {
			t.Errorf("%s: %d files, others %t", name, len(files), others)
		}
	}
}

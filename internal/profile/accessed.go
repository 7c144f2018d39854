package profile

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/capmon/capmon/internal/capability"
	"github.com/capmon/capmon/internal/classify"
	"github.com/capmon/capmon/internal/kernel"
	"github.com/capmon/capmon/monitor"
)

// File is a file that a workload asked for a capability for, as its system call named it.
type File struct {
	Capability capability.Capability `json:"capability"`
	Granted    bool                  `json:"granted"`
	// Program as in Use, Call the name of the system call alone.
	Program string `json:"program"`
	Call    string `json:"call,omitempty"`
	// Site is the kernel function that asked.
	Site string `json:"site,omitempty"`
	// Path from the container's root directory on, with the links that the program wrote;
	// it begins or ends with … if some of it is missing there. It begins with no slash if it
	// is not known which directory it begins at, and is empty if the call names none or it
	// could not be read. Any bytes, chosen by the container.
	Path string `json:"path,omitempty"`
	// OfTwo: the call is about two files, as rename is, and either may be the reason.
	OfTwo bool `json:"ofTwo,omitempty"`
	// User by which the kernel grants access, as the host counts users.
	User uint32 `json:"user"`
	// Found is where the path led when capmon looked, nil if it could not tell.
	Found *Place `json:"found,omitempty"`
	// Directory is what denied the user the access, on the way to the file; nil if it was
	// the file, or that is not known.
	Directory *Place `json:"directory,omitempty"`
	// Count of the checks that were seen to be for it: not all of a frequent kind are.
	Count uint64 `json:"count"`
}

// Place is a file as capmon found it.
type Place struct {
	// Path without links.
	Path string `json:"path"`
	// Owner and Group as the host counts them; Mode in octal digits, without the type.
	Owner uint32 `json:"owner"`
	Group uint32 `json:"group"`
	Mode  string `json:"mode"`
	// Image: it is as the image has it; what the container made of it is not known any more.
	Image bool `json:"image,omitempty"`
	// Link: it is a link, whose mode says nothing.
	Link bool `json:"link,omitempty"`
	// Lacks is what a directory does not let the user do: search or write.
	Lacks string `json:"lacks,omitempty"`
}

// Named is what capmon has to look for to find a file: a path from a directory on, in
// one container, known by its cgroup.
type Named struct {
	Cgroup uint64
	Base   monitor.FileID
	Path   string
	Link   bool // the link at its end is meant, not what it points to
	// Executed: it was to be executed.
	Executed bool
}

// NamedBy is what a use names.
func NamedBy(cgroup uint64, use monitor.FileUse) Named {
	return Named{Cgroup: cgroup, Base: use.Base.File, Path: use.Path, Link: use.Link, Executed: use.Failed != nil}
}

// entering are the system calls that make, move or remove what is in a directory.
var entering = []string{"bind", "link", "linkat", "mkdir", "mkdirat", "mknod", "mknodat", "rename", "renameat", "renameat2",
	"rmdir", "symlink", "symlinkat", "unlink", "unlinkat"}

// opening are those that may do so.
var opening = []string{"creat", "open", "openat", "openat2"}

// access adds the files.
func (r *Run) access(seen monitor.Container, ways map[Named]kernel.Way) {
	for _, use := range seen.Files {
		if use.Failed != nil {
			continue
		}
		r.Files = append(r.Files, newFile(use, ways[NamedBy(seen.Cgroup, use)]))
	}
	var unlisted uint64
	r.Files, unlisted = boundFiles(addUpFiles(r.Files))
	r.Unlisted = seen.Unlisted + unlisted
}

func newFile(use monitor.FileUse, way kernel.Way) File {
	site, _ := kernel.CallSite(use.Stack)
	file := File{
		Capability: use.Capability, Granted: use.Granted, Program: use.Program, Call: use.Call, Site: site,
		Path: pathOf(use), OfTwo: use.OfTwo != 0, User: use.UID, Count: use.Count,
	}
	if use.OfTwo == 2 {
		file.Count = 0 // the same checks as the first's
	}
	switch {
	case use.Naming == monitor.ByDescriptor && use.Base.Known():
		file.Found = &Place{Path: file.Path, Owner: use.Base.Owner, Group: use.Base.Group, Mode: octal(use.Base.Mode)}
	case way.File != nil:
		file.Found = place(*way.File)
	}
	if use.Capability == capability.DACOverride || use.Capability == capability.DACReadSearch {
		file.Directory = closed(way, use)
	}
	return file
}

func place(node kernel.Node) *Place {
	return &Place{Path: node.Path, Owner: node.Owner, Group: node.Group, Mode: octal(node.Mode), Image: node.Image, Link: node.IsLink()}
}

func octal(mode uint32) string { return fmt.Sprintf("%04o", mode&0o7777) }

const missing = "…"

// pathOf is the path in the container.
func pathOf(use monitor.FileUse) string {
	name := use.Path
	if use.Cut {
		name += missing
	}
	switch {
	case use.Naming == monitor.Unnamed, use.Naming == monitor.ByDescriptor && !use.Base.Known():
		return ""
	case !use.Base.Known():
		return name
	}
	base := use.Base.Path
	if use.Base.Cut {
		base = missing + base
	}
	if use.Naming == monitor.ByDescriptor {
		return base
	}
	return strings.TrimSuffix(base, "/") + "/" + strings.TrimPrefix(name, "/")
}

const (
	mayWrite  = 2
	maySearch = 1
)

// walking are the kernel functions that ask whether a directory on the way may be searched.
var walking = []string{"link_path_walk", "may_lookup"}

// closed finds the directory that kept the user from a file, if it was one: by where the
// kernel looks, and what for (link_path_walk, may_open and may_create, fs/namei.c).
func closed(way kernel.Way, use monitor.FileUse) *Place {
	if slices.Contains(use.Stack, "may_open") || len(way.Directories) == 0 { // asks of the file itself
		return nil
	}
	if slices.ContainsFunc(walking, func(f string) bool { return slices.Contains(use.Stack, f) }) {
		return denying(way.Directories, use, maySearch, "search")
	}
	for _, directory := range way.Directories { // not every kernel has these functions in the stack
		if refusal(directory, use, maySearch) == certain {
			return lacking(directory, "search")
		}
	}
	if slices.Contains(entering, use.Call) || slices.Contains(opening, use.Call) {
		return denying(way.Directories[len(way.Directories)-1:], use, mayWrite, "write")
	}
	return nil
}

// denying is the first directory that surely denies the user something, or else the first that does
// if the user is not in its group: one of them did.
func denying(directories []kernel.Node, use monitor.FileUse, what uint32, lacks string) *Place {
	for _, least := range []denial{certain, possible} {
		for _, directory := range directories {
			if refusal(directory, use, what) >= least {
				return lacking(directory, lacks)
			}
		}
	}
	return nil
}

func lacking(directory kernel.Node, what string) *Place {
	found := place(directory)
	found.Lacks = what
	return found
}

// denial is whether a file's mode denies a user something.
type denial int

const (
	none denial = iota
	possible
	certain
)

// refusal tells whether a file's mode denies a user something. What other groups the user is in is
// not known.
func refusal(node kernel.Node, use monitor.FileUse, what uint32) denial {
	owners, groups, others := node.Mode>>6&what == what, node.Mode>>3&what == what, node.Mode&what == what
	denies := !others
	switch {
	case node.Owner == use.UID:
		denies = !owners
	case node.Group == use.GID:
		denies = !groups
	case denies && groups:
		return possible
	}
	if denies {
		return certain
	}
	return none
}

// addUpFiles makes one of files that a reader could not tell apart, and sorts them.
func addUpFiles(files []File) []File {
	type key struct {
		file File
		link bool
	}
	byKey := make(map[key]File)
	for _, file := range files {
		key := key{file, file.ofLink()}
		key.file.Found, key.file.Directory, key.file.Count = nil, nil, 0
		if known, ok := byKey[key]; ok {
			file.Count += known.Count
			if known.tells() >= file.tells() { // the first that tells most
				file.Found, file.Directory = known.Found, known.Directory
			}
		}
		byKey[key] = file
	}
	return slices.SortedFunc(maps.Values(byKey), compareFiles)
}

func compareFiles(one, other File) int {
	return cmp.Or(
		cmp.Compare(one.Capability.String(), other.Capability.String()),
		-cmp.Compare(one.Count, other.Count),
		cmp.Compare(one.Path, other.Path),
		cmp.Compare(one.Program, other.Program),
		cmp.Compare(one.Call, other.Call),
		cmp.Compare(one.Site, other.Site),
		cmp.Compare(one.User, other.User),
		falseFirst(one.Granted, other.Granted),
		falseFirst(one.OfTwo, other.OfTwo),
		falseFirst(one.ofLink(), other.ofLink()),
	)
}

func falseFirst(one, other bool) int {
	switch {
	case one == other:
		return 0
	case other:
		return -1
	}
	return 1
}

// tells is how much is known of where the path led.
func (f File) tells() int {
	switch {
	case f.Found == nil:
		return 0
	case f.Found.Image:
		return 1
	}
	return 2
}

// ofLink reports whether a link was found that is meant itself.
func (f File) ofLink() bool { return f.Found != nil && f.Found.Link }

// wayOfUse is what files and uses have in common that belong together.
type wayOfUse struct {
	capability    capability.Capability
	granted       bool
	program, call string
	site          string
}

func (u Use) way() wayOfUse {
	return wayOfUse{u.Capability, u.Granted, u.Program, u.CallName(), u.Site}
}

// CallName returns the name of the system call, without its arguments.
func (u Use) CallName() string {
	name, _, _ := strings.Cut(u.Call, "(")
	return name
}

func (f File) way() wayOfUse { return wayOfUse{f.Capability, f.Granted, f.Program, f.Call, f.Site} }

// unnoted are the classes whose checks the kernel side looks at no files of (is_of_file,
// bpf/file.h).
var unnoted = []classify.Class{classify.Redundant, classify.NestedUserns, classify.OtherCredential, classify.Setup}

// FilesOf lists the files of these uses, and reports whether there may be others: more
// checks were made than are known to be for these.
func (s Summary) FilesOf(uses []Use) (files []File, others bool) {
	made := make(map[wayOfUse]uint64)
	for _, use := range uses {
		made[use.way()] = 0
	}
	for _, use := range s.Uses { // of all classes that files are noted of: they are not told apart
		if _, wanted := made[use.way()]; wanted && !slices.Contains(unnoted, use.Class) {
			made[use.way()] += use.Count
		}
	}
	for _, file := range s.Files {
		if n, wanted := made[file.way()]; wanted {
			files = append(files, file)
			made[file.way()] = n - min(n, file.Count)
		}
	}
	for _, left := range made {
		others = others || left > 0
	}
	return files, others
}

// reowning are the system calls that change the owner or the mode of the file that they name:
// what capmon finds there may be what it was before, or what they made of it.
var reowning = []string{"chown", "chown32", "lchown", "lchown32", "fchownat", "chmod", "fchmodat", "fchmodat2"}

// String names the file, and tells who may do what with it, unless the call is about that.
func (f File) String() string {
	if f.Path == "" {
		return "a file that could not be named"
	}
	text := quoted(f.Path)
	if !strings.HasPrefix(f.Path, "/") && !strings.HasPrefix(f.Path, missing) {
		text += " in a directory that is not known"
	}
	switch {
	case f.Directory != nil:
		does := "does"
		if f.Directory.Image {
			does = "may"
		}
		text += fmt.Sprintf(": %s (%s) %s not let user %d %s", quoted(f.Directory.Path), f.Directory.ownership(), does, f.User, f.Directory.Lacks)
	case f.Found != nil:
		var about []string
		if f.Found.Path != f.Path {
			about = append(about, quoted(f.Found.Path))
		}
		if !slices.Contains(reowning, f.Call) {
			about = append(about, f.Found.ownership())
		}
		if len(about) > 0 {
			text += " (" + strings.Join(about, ", ") + ")"
		}
	default:
		text += " (not found afterwards)"
	}
	if f.OfTwo {
		text += ", or the other of two"
	}
	return text
}

// ownership tells whose it is.
func (p Place) ownership() string {
	text := fmt.Sprintf("owner %d:%d, mode %s", p.Owner, p.Group, p.Mode)
	if p.Link {
		text = fmt.Sprintf("a link, owner %d:%d", p.Owner, p.Group)
	}
	if p.Image {
		text += " in the image"
	}
	return text
}

// quoted is a path that cannot be taken for words about it.
func quoted(path string) string {
	if !strings.ContainsAny(path, " \"'(),;:") {
		return path
	}
	return `"` + strings.ReplaceAll(path, `"`, `\"`) + `"`
}

package profile

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/capmon/capmon/capability"
	"github.com/capmon/capmon/internal/classify"
	"github.com/capmon/capmon/internal/kernel"
	"github.com/capmon/capmon/monitor"
)

// File is a file for which the kernel checked a capability of the workload, with the path that the system call used.
type File struct {
	Capability capability.Capability `json:"capability"`
	Granted    bool                  `json:"granted"`
	// Program as in Use. Call is the name of the system call without arguments.
	Program string `json:"program"`
	Call    string `json:"call,omitempty"`
	// Site is the kernel function that made the check.
	Site string `json:"site,omitempty"`
	// Path is the path from the container's root directory, including the links that the program wrote. It begins or
	// ends with … if that part of it is missing. It has no leading slash if capmon does not know the directory at which
	// it begins. It is empty if the call names no path, or if capmon could not read it. It may contain any bytes: the
	// container chooses them.
	Path string `json:"path,omitempty"`
	// OfTwo: the call uses two files, as rename does, and either of them may be the reason for the check.
	OfTwo bool `json:"ofTwo,omitempty"`
	// User is the ID, on the host, of the user whose access the kernel checked.
	User uint32 `json:"user"`
	// Found is the file at the end of the path when capmon followed it; nil if capmon could not follow it.
	Found *FileInfo `json:"found,omitempty"`
	// Directory is the directory on the path that denied access to the user; nil if the file itself denied it, or if
	// capmon does not know which one denied it.
	Directory *FileInfo `json:"directory,omitempty"`
	// Count is the number of checks for this file that capmon recorded. It does not record all checks that are
	// frequent.
	Count uint64 `json:"count"`
}

// FileInfo has the owner and the mode of a file at the time when capmon read them.
type FileInfo struct {
	// Path contains no links.
	Path string `json:"path"`
	// Owner and Group are IDs of the host. Mode is in octal digits, without the file type.
	Owner uint32 `json:"owner"`
	Group uint32 `json:"group"`
	Mode  string `json:"mode"`
	// Image: the values come from the file in the image. capmon does not know whether the container has changed it.
	Image bool `json:"image,omitempty"`
	// Link: the file is a symbolic link, whose mode has no meaning.
	Link bool `json:"link,omitempty"`
	// Lacks is the permission that a directory does not give the user: search or write.
	Lacks string `json:"lacks,omitempty"`
}

// PathQuery identifies a path that capmon has to follow: the path, the directory at which it begins, and the container,
// identified by its cgroup.
type PathQuery struct {
	Cgroup uint64
	Base   monitor.FileID
	Path   string
	Link   bool // the call uses a link at the end of the path, not its target
	// Executed: the call tried to execute the file.
	Executed bool
}

// PathQueryOf returns the query for the path of a use.
func PathQueryOf(cgroup uint64, use monitor.FileUse) PathQuery {
	return PathQuery{Cgroup: cgroup, Base: use.Base.File, Path: use.Path, Link: use.NoFollow, Executed: use.Failed != nil}
}

// changingEntries are the system calls that create, rename or remove an entry of a directory.
var changingEntries = []string{"bind", "link", "linkat", "mkdir", "mkdirat", "mknod", "mknodat", "rename", "renameat", "renameat2",
	"rmdir", "symlink", "symlinkat", "unlink", "unlinkat"}

// mayCreate are the system calls that may create an entry of a directory.
var mayCreate = []string{"creat", "open", "openat", "openat2"}

// addFiles adds the files for which checks were made.
func (r *Run) addFiles(seen monitor.ContainerRecord, walks map[PathQuery]kernel.PathWalk) {
	for _, use := range seen.Files {
		if use.Failed != nil {
			continue
		}
		r.Files = append(r.Files, newFile(use, walks[PathQueryOf(seen.Cgroup, use)]))
	}
	var unlisted uint64
	r.Files, unlisted = boundFiles(addUpFiles(r.Files))
	r.Unlisted = seen.Unlisted + unlisted
}

func newFile(use monitor.FileUse, walk kernel.PathWalk) File {
	site, _ := kernel.CallSite(use.Stack)
	file := File{
		Capability: use.Capability, Granted: use.Granted, Program: use.Program, Call: use.Call, Site: site,
		Path: pathInContainer(use), OfTwo: use.WhichOfTwo != 0, User: use.UID, Count: use.Count,
	}
	if use.WhichOfTwo == 2 {
		file.Count = 0 // the checks are counted with the first file
	}
	switch {
	case use.Naming == monitor.ByDescriptor && use.Base.Known():
		file.Found = &FileInfo{Path: file.Path, Owner: use.Base.Owner, Group: use.Base.Group, Mode: octal(use.Base.Mode)}
	case walk.File != nil:
		file.Found = place(*walk.File)
	}
	if use.Capability == capability.DACOverride || use.Capability == capability.DACReadSearch {
		file.Directory = deniedBy(walk, use)
	}
	return file
}

func place(node kernel.Node) *FileInfo {
	return &FileInfo{Path: node.Path, Owner: node.Owner, Group: node.Group, Mode: octal(node.Mode), Image: node.Image, Link: node.IsLink()}
}

func octal(mode uint32) string { return fmt.Sprintf("%04o", mode&0o7777) }

const ellipsis = "…"

// pathInContainer returns the path of a use from the container's root directory, "" if it is not known.
func pathInContainer(use monitor.FileUse) string {
	name := use.Path
	if use.Cut {
		name += ellipsis
	}
	switch {
	case use.Naming == monitor.Unnamed, use.Naming == monitor.ByDescriptor && !use.Base.Known():
		return ""
	case !use.Base.Known():
		return name
	}
	base := use.Base.Path
	if use.Base.Cut {
		base = ellipsis + base
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

// searchingFunctions are the kernel functions that check the search permission of a directory on the path.
var searchingFunctions = []string{"link_path_walk", "may_lookup"}

// deniedBy returns the directory that denied access to the user, nil if none did. The call site shows which permission
// the kernel checked (link_path_walk, may_open and may_create, fs/namei.c).
func deniedBy(walk kernel.PathWalk, use monitor.FileUse) *FileInfo {
	if slices.Contains(use.Stack, "may_open") || len(walk.Directories) == 0 { // may_open checks the file itself
		return nil
	}
	if slices.ContainsFunc(searchingFunctions, func(f string) bool { return slices.Contains(use.Stack, f) }) {
		return firstDenying(walk.Directories, use, maySearch, "search")
	}
	for _, directory := range walk.Directories { // some kernels inline these functions
		if modeDenies(directory, use, maySearch) == certain {
			return withLack(directory, "search")
		}
	}
	if slices.Contains(changingEntries, use.Call) || slices.Contains(mayCreate, use.Call) {
		return firstDenying(walk.Directories[len(walk.Directories)-1:], use, mayWrite, "write")
	}
	return nil
}

// firstDenying returns the first directory that certainly denies the permission what to the user. If there is none, it
// returns the first directory that denies the permission unless the user is in the directory's group. One of the
// directories did deny it.
func firstDenying(directories []kernel.Node, use monitor.FileUse, what uint32, lacks string) *FileInfo {
	for _, minimum := range []denial{certain, possible} {
		for _, directory := range directories {
			if modeDenies(directory, use, what) >= minimum {
				return withLack(directory, lacks)
			}
		}
	}
	return nil
}

func withLack(directory kernel.Node, what string) *FileInfo {
	found := place(directory)
	found.Lacks = what
	return found
}

// denial states whether a file's mode denies a user a permission.
type denial int

const (
	none denial = iota
	possible
	certain
)

// modeDenies reports whether a file's mode denies a user a permission. The user's supplementary groups are not known.
func modeDenies(node kernel.Node, use monitor.FileUse, what uint32) denial {
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

// addUpFiles merges files that look the same to a reader, and sorts the result.
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
			if known.detail() >= file.detail() { // keep the most detailed one
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

// detail ranks how much is known about the file at the end of the path.
func (f File) detail() int {
	switch {
	case f.Found == nil:
		return 0
	case f.Found.Image:
		return 1
	}
	return 2
}

// ofLink reports whether the file is a link itself, and not the target of a link.
func (f File) ofLink() bool { return f.Found != nil && f.Found.Link }

// accessKey has the fields that a use and its files have in common.
type accessKey struct {
	capability    capability.Capability
	granted       bool
	program, call string
	site          string
}

func (u UsePattern) accessKey() accessKey {
	return accessKey{u.Capability, u.Granted, u.Program, u.CallName(), u.Site}
}

// CallName returns the name of the system call without its arguments.
func (u UsePattern) CallName() string {
	name, _, _ := strings.Cut(u.Call, "(")
	return name
}

func (f File) accessKey() accessKey {
	return accessKey{f.Capability, f.Granted, f.Program, f.Call, f.Site}
}

// withoutFiles are the classes of checks whose files the eBPF programs do not record (is_file_check,
// bpf/checked_files.h).
var withoutFiles = []classify.Class{classify.Redundant, classify.NestedUserns, classify.OtherCredential, classify.Setup}

// FilesOf returns the files of the uses. others is true if there may be more files, because capmon does not know the
// files of all these checks.
func (s Summary) FilesOf(uses []UsePattern) (files []File, others bool) {
	remaining := make(map[accessKey]uint64)
	for _, use := range uses {
		remaining[use.accessKey()] = 0
	}
	for _, use := range s.Uses { // all classes with files: the records of files do not contain the class
		if _, wanted := remaining[use.accessKey()]; wanted && !slices.Contains(withoutFiles, use.Class) {
			remaining[use.accessKey()] += use.Count
		}
	}
	for _, file := range s.Files {
		if n, wanted := remaining[file.accessKey()]; wanted {
			files = append(files, file)
			remaining[file.accessKey()] = n - min(n, file.Count)
		}
	}
	for _, n := range remaining {
		others = others || n > 0
	}
	return files, others
}

// changingOwner are the system calls that change the owner or the mode of a file. capmon may read the owner and mode
// before or after the change.
var changingOwner = []string{"chown", "chown32", "lchown", "lchown32", "fchownat", "chmod", "fchmodat", "fchmodat2"}

// String returns the path of the file with its owner and mode. It omits owner and mode if the call changes them.
func (f File) String() string {
	if f.Path == "" {
		return "a file with an unknown path"
	}
	text := quoted(f.Path)
	if !strings.HasPrefix(f.Path, "/") && !strings.HasPrefix(f.Path, ellipsis) {
		text += " in an unknown directory"
	}
	switch {
	case f.Directory != nil:
		has := "has"
		if f.Directory.Image {
			has = "may have"
		}
		text += fmt.Sprintf(": user %d %s no %s permission for %s (%s)", f.User, has, f.Directory.Lacks, quoted(f.Directory.Path), f.Directory.ownerAndMode())
	case f.Found != nil:
		var about []string
		if f.Found.Path != f.Path {
			about = append(about, quoted(f.Found.Path))
		}
		if !slices.Contains(changingOwner, f.Call) {
			about = append(about, f.Found.ownerAndMode())
		}
		if len(about) > 0 {
			text += " (" + strings.Join(about, ", ") + ")"
		}
	default:
		text += " (not found afterwards)"
	}
	if f.OfTwo {
		text += ", or the other file of the call"
	}
	return text
}

// ownerAndMode describes the file's owner and mode in words.
func (p FileInfo) ownerAndMode() string {
	text := fmt.Sprintf("owner %d:%d, mode %s", p.Owner, p.Group, p.Mode)
	if p.Link {
		text = fmt.Sprintf("a link, owner %d:%d", p.Owner, p.Group)
	}
	if p.Image {
		text += " in the image"
	}
	return text
}

// quoted quotes a path that could be confused with the words around it.
func quoted(path string) string {
	if !strings.ContainsAny(path, " \"'(),;:") {
		return path
	}
	return `"` + strings.ReplaceAll(path, `"`, `\"`) + `"`
}

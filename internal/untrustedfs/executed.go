package untrustedfs

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/capmon/capmon/internal/kernel"
)

const (
	// maxInterpreters is the maximum length of a chain of interpreters: an interpreter may itself be a script
	// (exec_binprm, fs/exec.c).
	maxInterpreters = 5
	// headLength is how many bytes of a script the kernel reads (BINPRM_BUF_SIZE).
	headLength = 256
	// maxLinks and maxNames limit the work for one path.
	maxLinks, maxNames = 40, 512
)

// executedProgram returns the program that the kernel loads if the file at the walker's position is executed: the file
// itself, or the interpreter of a script.
func executedProgram(walker *kernel.Walker) (*kernel.Program, error) {
	for range maxInterpreters {
		interpreter, err := interpreterOf(walker.File())
		if err != nil || interpreter == "" {
			break
		}
		walk, err := walker.Go(interpreter, true)
		if err != nil || walk.File == nil {
			return nil, errors.Join(err, errNotFound)
		}
	}
	return kernel.ProgramOf(walker.File(), walker.Here().Path)
}

// programAfterExit finds a program where the engine stores the container's files. It reads links and resolves them
// itself, so a link leads to the same file as in the container's root directory, and never out of that directory.
func (p Path) programAfterExit(full string) (walk kernel.PathWalk, err error) {
	for range maxInterpreters {
		file, node, err := p.openProgram(full)
		if err != nil {
			return kernel.PathWalk{}, err
		}
		interpreter, err := interpreterOf(file)
		if walk.File == nil {
			walk.File = &node
		}
		if err != nil || interpreter == "" {
			walk.Program, err = kernel.ProgramOf(file, node.Path)
			file.Close()
			if err == nil {
				walk.Program.NoSuid = false // ProgramOf read the flag of the host's mount
			}
			return walk, err
		}
		file.Close()
		full = interpreter
	}
	return kernel.PathWalk{}, unix.ELOOP
}

// openProgram opens the file that a path leads to.
func (p Path) openProgram(full string) (file *os.File, node kernel.Node, err error) {
	here, left, links := "/", strings.Split(full, "/"), 0
	for steps := 0; len(left) > 0 && steps < maxNames && links <= maxLinks; steps++ {
		name := left[0]
		left = left[1:]
		switch name {
		case "", ".":
			continue
		case "..":
			here = path.Dir(here)
			continue
		}
		next := path.Join(here, name)
		opened, image, err := p.open(next)
		last := !slices.ContainsFunc(left, func(name string) bool { return name != "" })
		switch {
		case errors.Is(err, unix.ELOOP) && (!last || p.Follow):
			var target string
			if target, err = p.readLink(next); err == nil {
				links++
				if left = append(strings.Split(target, "/"), left...); strings.HasPrefix(target, "/") {
					here = "/"
				}
				continue
			}
		case err == nil && last:
			node, err = kernel.NodeOf(opened, next)
			node.Image = image
			return opened, node, err
		case err == nil:
			err = opened.Close()
			here = next
		}
		if err != nil {
			return nil, node, err
		}
	}
	return nil, node, errNotFound
}

// readLink reads a link in the first layer that has it.
func (p Path) readLink(name string) (string, error) {
	for _, layer := range p.Layers {
		directory, err := openBelow(filepath.Join(p.EngineProc, "root", layer), path.Dir(name))
		if err != nil {
			continue
		}
		var target [unix.PathMax]byte
		n, err := unix.Readlinkat(int(directory.Fd()), path.Base(name), target[:])
		directory.Close()
		if err == nil {
			return string(target[:n]), nil
		}
	}
	return "", errNotFound
}

// readable are the file systems on which programs are stored and where reading a file has no side effects. Reading some
// files of /proc has side effects.
var readable = []int64{unix.OVERLAYFS_SUPER_MAGIC, unix.EXT4_SUPER_MAGIC, unix.XFS_SUPER_MAGIC, unix.BTRFS_SUPER_MAGIC, unix.F2FS_SUPER_MAGIC, unix.TMPFS_MAGIC}

// interpreterOf returns the path of a script's interpreter; "" if the file is not a script.
func interpreterOf(file *os.File) (string, error) {
	var stat unix.Stat_t
	var system unix.Statfs_t
	if err := errors.Join(unix.Fstat(int(file.Fd()), &stat), unix.Fstatfs(int(file.Fd()), &system)); err != nil {
		return "", err
	}
	if stat.Mode&unix.S_IFMT != unix.S_IFREG || !slices.Contains(readable, int64(system.Type)) {
		return "", nil
	}
	script, err := os.OpenFile(fmt.Sprintf("/proc/self/fd/%d", file.Fd()), unix.O_RDONLY|unix.O_NONBLOCK, 0)
	if err != nil {
		return "", err
	}
	defer script.Close()
	head := make([]byte, headLength)
	n, err := script.Read(head)
	if err != nil {
		return "", err
	}
	return interpreterIn(head[:n]), nil
}

// interpreterIn reads the first line of a script as load_script does (fs/binfmt_script.c).
func interpreterIn(head []byte) string {
	line, isScript := bytes.CutPrefix(head, []byte("#!"))
	if !isScript {
		return ""
	}
	line, _, _ = bytes.Cut(line, []byte{'\n'})
	line = bytes.TrimLeft(line, " \t")
	if end := bytes.IndexAny(line, " \t\x00"); end >= 0 {
		line = line[:end]
	}
	if !bytes.HasPrefix(line, []byte("/")) { // relative to the working directory, which is not known
		return ""
	}
	return string(line)
}

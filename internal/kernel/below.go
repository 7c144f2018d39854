package kernel

import (
	"fmt"
	"os"
	"strings"

	"golang.org/x/sys/unix"
)

// OpenBelow opens a file with O_PATH by its path below a directory. The path may begin with a slash. OpenBelow never
// leaves the directory: it follows no links, and returns unix.ELOOP if a part of the path is one. The error matches
// [os.ErrNotExist] if the file does not exist.
//
// openat2 could do the same with one call, but systemd forbids that call to services that may not make set-user-ID
// files (RestrictSUIDSGID, implied by DynamicUser).
func OpenBelow(directory, path string) (*os.File, error) {
	file, err := os.OpenFile(directory, unix.O_PATH|unix.O_DIRECTORY, 0)
	if err != nil {
		return nil, err
	}
	for name := range strings.SplitSeq(strings.Trim(path, "/"), "/") {
		below, err := openIn(file, name)
		file.Close()
		if err != nil {
			return nil, fmt.Errorf("opening %s below %s: %w", path, directory, err)
		}
		file = below
	}
	return file, nil
}

// openIn opens a file in a directory. It fails if the file is a link.
func openIn(directory *os.File, name string) (*os.File, error) {
	if name == "" || name == "." || name == ".." {
		return nil, fmt.Errorf("%q is not a file name", name)
	}
	fd, err := unix.Openat(int(directory.Fd()), name, unix.O_PATH|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, err
	}
	file := os.NewFile(uintptr(fd), name)
	info, err := file.Stat()
	if err == nil && info.Mode()&os.ModeSymlink != 0 {
		err = unix.ELOOP
	}
	if err != nil {
		file.Close()
		return nil, err
	}
	return file, nil
}

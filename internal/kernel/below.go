package kernel

import (
	"fmt"
	"os"
	"strings"

	"golang.org/x/sys/unix"
)

// OpenBelow finds a file by its path below a directory, from where no link leads, and
// opens it with O_PATH. The path may begin with a slash; links within it are not followed.
// os.ErrNotExist is in the error's tree if there is none.
//
// openat2 would do the same at once, but systemd forbids it to services that may make no
// set-user-ID files (RestrictSUIDSGID, implied by DynamicUser).
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

// openIn opens what is in a directory and is no link.
func openIn(directory *os.File, name string) (*os.File, error) {
	if name == "" || name == "." || name == ".." {
		return nil, fmt.Errorf("%q is no file's name", name)
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

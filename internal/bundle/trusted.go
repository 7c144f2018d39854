package bundle

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"

	"golang.org/x/sys/unix"
)

// maxLinks is the number of symbolic links that a path may have.
const maxLinks = 16

// errUntrusted means that a user other than root can have made or changed a file.
var errUntrusted = errors.New("a user other than root may have made it")

// openTrusted opens a regular file for reading, by its path below a root directory. It returns [errUntrusted] unless
// only root can have made the file, each directory on the way, and each link that it follows. A directory with the
// sticky bit, such as /tmp, may belong to all users: what root makes there stays root's. Links are followed below the
// root directory.
//
// A container's file system is not on the way: the bundle is next to it, and root's.
func openTrusted(root, name string) (*os.File, error) {
	directory, err := unix.Open(root, unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, &os.PathError{Op: "open", Path: root, Err: err}
	}
	file, err := openTrustedIn(directory, name)
	if err != nil {
		return nil, &os.PathError{Op: "open", Path: name, Err: err}
	}
	return file, nil
}

// openTrustedIn is openTrusted with an open root directory, which it closes.
func openTrustedIn(root int, name string) (*os.File, error) {
	above := []int{root} // from the root directory to the current one
	defer func() {
		for _, fd := range above {
			unix.Close(fd)
		}
	}()
	rest := strings.Split(name, "/")
	for links := 0; len(rest) > 0; {
		part := rest[0]
		rest = rest[1:]
		switch part {
		case "", ".":
			continue
		case "..":
			if len(above) > 1 {
				unix.Close(above[len(above)-1])
				above = above[:len(above)-1]
			}
			continue
		}
		here := above[len(above)-1]
		fd, err := unix.Openat(here, part, unix.O_PATH|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0)
		if err != nil {
			return nil, err
		}
		mode, err := trustedMode(fd)
		if err != nil {
			unix.Close(fd)
			return nil, err
		}
		switch mode & unix.S_IFMT {
		case unix.S_IFDIR:
			above = append(above, fd)
			continue
		case unix.S_IFLNK:
			target, err := readLink(fd)
			unix.Close(fd)
			if links++; err == nil && links > maxLinks {
				err = unix.ELOOP
			}
			if err != nil {
				return nil, err
			}
			if strings.HasPrefix(target, "/") {
				for _, fd := range above[1:] {
					unix.Close(fd)
				}
				above = above[:1]
			}
			rest = append(strings.Split(target, "/"), rest...)
			continue
		case unix.S_IFREG:
			defer unix.Close(fd)
			if len(rest) > 0 {
				return nil, unix.ENOTDIR
			}
			return reopen(here, part, fd)
		}
		unix.Close(fd)
		return nil, fmt.Errorf("%s is not a regular file", part)
	}
	return nil, unix.EISDIR
}

// trustedMode returns the mode of a file that only root can have made or changed.
func trustedMode(fd int) (mode uint32, err error) {
	var stat unix.Stat_t
	if err := unix.Fstat(fd, &stat); err != nil {
		return 0, err
	}
	const othersWrite = 0o022
	open := stat.Mode&othersWrite != 0
	switch stat.Mode & unix.S_IFMT {
	case unix.S_IFLNK: // its mode has no meaning
		open = false
	case unix.S_IFDIR:
		open = open && stat.Mode&unix.S_ISVTX == 0
	}
	if stat.Uid != 0 || open {
		return 0, errUntrusted
	}
	return stat.Mode, nil
}

func readLink(fd int) (string, error) {
	target := make([]byte, unix.PathMax)
	n, err := unix.Readlinkat(fd, "", target)
	return string(target[:max(n, 0)]), err
}

// reopen opens a file for reading that is open as a path. Its directory belongs to root, so it stays the same file.
func reopen(directory int, name string, path int) (*os.File, error) {
	fd, err := unix.Openat(directory, name, unix.O_RDONLY|unix.O_NOFOLLOW|unix.O_NONBLOCK|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, err
	}
	file := os.NewFile(uintptr(fd), name)
	var before, after unix.Stat_t
	err = errors.Join(unix.Fstat(path, &before), unix.Fstat(fd, &after))
	if err == nil && (before.Dev != after.Dev || before.Ino != after.Ino) {
		err = errors.New("it was replaced while capmon opened it")
	}
	if err != nil {
		file.Close()
		return nil, err
	}
	return file, nil
}

// readTrusted reads a file like openTrusted, up to a size.
func readTrusted(root, name string, limit int64) ([]byte, error) {
	file, err := openTrusted(root, name)
	if err != nil {
		return nil, err
	}
	defer file.Close()
	return readLimited(file, limit)
}

// ErrTooLarge means that a file is larger than capmon reads.
var ErrTooLarge = errors.New("the file is too large")

// readLimited reads a file up to a size. The error is [ErrTooLarge] if it is larger.
func readLimited(file *os.File, limit int64) ([]byte, error) {
	info, err := file.Stat()
	if err != nil {
		return nil, err
	}
	size := info.Size()
	var data bytes.Buffer
	if size <= limit {
		data.Grow(int(size) + bytes.MinRead)
		size, err = io.Copy(&data, io.LimitReader(file, limit+1)) // it may have grown
	}
	if err == nil && size > limit {
		err = fmt.Errorf("%w: it has %d bytes, and capmon reads at most %d", ErrTooLarge, size, limit)
	}
	if err != nil {
		return nil, fmt.Errorf("reading %s: %w", file.Name(), err)
	}
	return data.Bytes(), nil
}

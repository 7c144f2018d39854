package untrustedfs

import (
	"errors"
	"fmt"
	"os"
	"path"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/capmon/capmon/capability"
	"github.com/capmon/capmon/internal/kernel"
)

// inLayers opens a file by its absolute path in the layers of a container's root file system, in the order of overlayfs
// (Documentation/filesystems/overlayfs.rst). image is set if the layer that the container wrote to is gone, or if it
// is not known whether a directory hides the file.
func (p Path) inLayers(name string) (file *os.File, image bool, err error) {
	upper := filepath.Join(p.EngineProc, "root", p.Layers[0])
	sure := exists(upper)
	for i, layer := range p.Layers {
		directory := filepath.Join(p.EngineProc, "root", layer)
		file, err := openBelow(directory, name)
		if err == nil {
			image = i > 0 && (!sure || !exists(upper)) // the engine may have removed it in between
			return file, image, rejectWhiteout(file)
		}
		if !errors.Is(err, os.ErrNotExist) {
			return nil, false, err // for example a whiteout of a directory
		}
		hidden, known := hides(directory, name)
		if hidden {
			break
		}
		sure = sure && known
	}
	return nil, false, errNotFound
}

func exists(path string) bool {
	_, err := os.Lstat(path)
	return err == nil
}

// rejectWhiteout closes the file and returns an error if the file is a whiteout, which marks a removed file.
func rejectWhiteout(file *os.File) error {
	var stat unix.Stat_t
	err := unix.Fstat(int(file.Fd()), &stat)
	if err == nil && stat.Mode&unix.S_IFMT == unix.S_IFCHR && stat.Rdev == 0 {
		err = errNotFound
	}
	if err != nil {
		file.Close()
	}
	return err
}

// hides reports whether a directory of a layer hides the file in the layers below. known is false if capmon could not
// read that from every directory.
func hides(layer, name string) (hidden, known bool) {
	known = true
	for directory := path.Dir(name); directory != "/"; directory = path.Dir(directory) {
		file, err := kernel.OpenBelow(layer, directory)
		if err != nil {
			continue // the directory is not in this layer
		}
		opaque, err := opaque(file)
		file.Close()
		hidden, known = hidden || opaque, known && err == nil
	}
	return hidden, known
}

// opaque reports whether overlayfs does not merge a directory of a layer with the directory of the same path in the
// layers below: either no lower directory belongs to it, or a lower directory with another name does.
func opaque(directory *os.File) (bool, error) {
	own := fmt.Sprintf("/proc/self/fd/%d", directory.Fd())
	for _, name := range []string{"user.overlay.opaque", "user.overlay.redirect", "trusted.overlay.opaque", "trusted.overlay.redirect"} {
		if strings.HasPrefix(name, "trusted.") && !seesTrusted() {
			return false, unix.EPERM
		}
		var value [1]byte
		_, err := unix.Getxattr(own, name, value[:])
		switch {
		case errors.Is(err, unix.ENODATA) || errors.Is(err, unix.EOPNOTSUPP):
		case err != nil && !errors.Is(err, unix.ERANGE): // ERANGE: the value is longer
			return false, err
		case value[0] == 'y' || strings.HasSuffix(name, "redirect"):
			return true, nil
		}
	}
	return false, nil
}

// seesTrusted reports whether this thread may read trusted attributes. To a thread without SYS_ADMIN the kernel
// reports that they do not exist (xattr_permission, fs/xattr.c).
func seesTrusted() bool {
	effective, err := kernel.EffectiveCapabilities()
	return err == nil && effective.Has(capability.SysAdmin)
}

func openBelow(directory, name string) (*os.File, error) {
	if strings.Trim(name, "/") == "" {
		return os.OpenFile(directory, unix.O_PATH|unix.O_DIRECTORY, 0)
	}
	return kernel.OpenBelow(directory, name)
}

package untrustedfs

import (
	"errors"
	"fmt"
	"os"
	"path"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/capmon/capmon/internal/capability"
	"github.com/capmon/capmon/internal/kernel"
)

// inStack looks a file up by its absolute path in the layers of a container's root file
// system, as overlayfs does (Documentation/filesystems/overlayfs.rst). It is the image's if
// the layer that the container wrote to is gone, or if it cannot be told whether a directory
// hides it.
func (p Path) inStack(name string) (file *os.File, image bool, err error) {
	upper := filepath.Join(p.Viewer, "root", p.Layers[0])
	sure := exists(upper)
	for i, layer := range p.Layers {
		directory := filepath.Join(p.Viewer, "root", layer)
		file, err := openBelow(directory, name)
		if err == nil {
			image = i > 0 && (!sure || !exists(upper)) // which may have been removed meanwhile
			return file, image, refuseWhiteout(file)
		}
		if !errors.Is(err, os.ErrNotExist) {
			return nil, false, err // such as a whiteout of a directory
		}
		hidden, known := hides(directory, name)
		if hidden {
			break
		}
		sure = sure && known
	}
	return nil, false, errNotThere
}

func exists(path string) bool {
	_, err := os.Lstat(path)
	return err == nil
}

// refuseWhiteout closes a layer's file, with an error, if it says that there is none.
func refuseWhiteout(file *os.File) error {
	var stat unix.Stat_t
	err := unix.Fstat(int(file.Fd()), &stat)
	if err == nil && stat.Mode&unix.S_IFMT == unix.S_IFCHR && stat.Rdev == 0 {
		err = errNotThere
	}
	if err != nil {
		file.Close()
	}
	return err
}

// hides reports whether a directory of a layer hides the file from the layers below, and
// whether that is known.
func hides(layer, name string) (hidden, known bool) {
	known = true
	for directory := path.Dir(name); directory != "/"; directory = path.Dir(directory) {
		file, err := kernel.OpenBelow(layer, directory)
		if err != nil {
			continue // it is not in this layer
		}
		opaque, err := opaque(file)
		file.Close()
		hidden, known = hidden || opaque, known && err == nil
	}
	return hidden, known
}

// opaque reports whether a directory of a layer is not merged with that of the same path
// below it: there is none for it, or it had another name there.
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
		case err != nil && !errors.Is(err, unix.ERANGE): // ERANGE: it is longer
			return false, err
		case value[0] == 'y' || strings.HasSuffix(name, "redirect"):
			return true, nil
		}
	}
	return false, nil
}

// seesTrusted reports whether this thread sees trusted attributes: to others the kernel says
// that there are none (xattr_permission, fs/xattr.c).
func seesTrusted() bool {
	held, err := kernel.EffectiveCapabilities()
	return err == nil && held.Has(capability.SysAdmin)
}

func openBelow(directory, name string) (*os.File, error) {
	if strings.Trim(name, "/") == "" {
		return os.OpenFile(directory, unix.O_PATH|unix.O_DIRECTORY, 0)
	}
	return kernel.OpenBelow(directory, name)
}

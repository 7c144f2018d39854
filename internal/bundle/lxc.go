package bundle

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"os"
	"path"
	"slices"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/capmon/capmon/capability"
	"github.com/capmon/capmon/internal/kernel"
)

// lxcPayload begins the name of the cgroup of a container of LXC. The name of the container follows, and -1, -2, … if
// such a cgroup exists already.
const lxcPayload = "/lxc.payload."

// ReadLXC returns the container of LXC in a cgroup, by what root has configured. pids are processes of the container.
// The error matches [os.ErrNotExist] if none of them is the first process of such a container.
func ReadLXC(cgroup string, pids []int) (State, error) {
	for _, pid := range pids {
		parent, err := parentOf(pid)
		if err != nil || slices.Contains(pids, parent) {
			continue
		}
		directory, ok := lxcMonitor(parent)
		if !ok {
			continue
		}
		if name := path.Base(directory); cgroup != lxcPayload+name && !strings.HasPrefix(cgroup, lxcPayload+name+"-") {
			return State{}, fmt.Errorf("the container %s of LXC is not in the cgroup %s", directory, kernel.ShortPath(cgroup))
		}
		s := State{Pid: pid, Cgroup: cgroup, Bundle: Bundle{Engine: LXC, ID: directory, Name: path.Base(directory)}}
		return s, s.readLXCConfig(path.Join(directory, "config"))
	}
	return State{}, os.ErrNotExist
}

// lxcMonitor returns the directory of the container whose first process is a child of a process: LXCPATH/NAME. It
// returns false if the process is not a monitor that root runs on the host. The process is lxc-start; in the
// background, it changes its arguments to "[lxc monitor] LXCPATH NAME".
func lxcMonitor(pid int) (directory string, ok bool) {
	p := process{inProc: directoryOf(pid)}
	executable, err := os.Readlink(path.Join(p.inProc, "exe"))
	if err != nil || strings.TrimSuffix(path.Base(executable), deleted) != "lxc-start" || !p.isHostRoot() {
		return "", false
	}
	if p.arguments, err = p.readArguments(); err != nil || len(p.arguments) == 0 {
		return "", false
	}
	if title, background := strings.CutPrefix(p.arguments[0], "[lxc monitor] "); background {
		lxcPath, name, _ := cutLast(strings.TrimSpace(title), " ")
		return path.Join(lxcPath, name), path.IsAbs(lxcPath) && isLXCName(name)
	}
	lxcPath, name := p.argument("-P", "--lxcpath"), p.argument("-n", "--name")
	if lxcPath == "" {
		lxcPath = "/var/lib/lxc"
	}
	if name == "" && len(p.arguments) > 1 { // lxc-start NAME
		name = p.arguments[len(p.arguments)-1]
	}
	return path.Join(lxcPath, name), path.IsAbs(lxcPath) && isLXCName(name)
}

func isLXCName(name string) bool {
	return name != "" && name != "." && name != ".." && !strings.Contains(name, "/")
}

func cutLast(s, separator string) (before, after string, found bool) {
	i := strings.LastIndex(s, separator)
	if i < 0 {
		return s, "", false
	}
	return s[:i], s[i+len(separator):], true
}

// lxcConfig has what a configuration of LXC says about the capabilities of a container.
type lxcConfig struct {
	keep, drop capability.Set
	keeps      bool // only the capabilities in keep remain
	seccomp    bool
	noNewPrivs bool
	hostNet    bool
	rootfs     string
	files      int
}

const (
	// maxLXCFiles is the number of files that a configuration may include, and maxLXCConfig the size of each.
	maxLXCFiles, maxLXCConfig = 64, 1 << 20
)

func (b *Bundle) readLXCConfig(name string) error {
	last, err := kernel.LastCapability()
	if err != nil {
		return err
	}
	var config lxcConfig
	if err := config.include(name); err != nil {
		return err
	}
	all := capability.Known(last)
	granted := all &^ config.drop
	if config.keeps {
		granted = all & config.keep
	}
	b.Bounding, b.Permitted = &granted, &granted
	b.Seccomp, b.NoNewPrivileges, b.HostNetwork = config.seccomp, config.noNewPrivs, config.hostNet
	if rootfs, ok := strings.CutPrefix(config.rootfs, "dir:"); ok || path.IsAbs(config.rootfs) {
		b.setLayers(rootfs)
	}
	return nil
}

// include reads a file, or the files *.conf in a directory.
func (c *lxcConfig) include(name string) error {
	if c.files++; c.files > maxLXCFiles {
		return errors.New("the configuration of LXC includes too many files")
	}
	data, err := readTrusted("/", name, maxLXCConfig)
	if errors.Is(err, unix.EISDIR) {
		entries, err := os.ReadDir(name)
		for _, entry := range entries {
			if strings.HasSuffix(entry.Name(), ".conf") && err == nil {
				err = c.include(path.Join(name, entry.Name()))
			}
		}
		return err
	}
	if err != nil {
		return err
	}
	for lines := bufio.NewScanner(bytes.NewReader(data)); lines.Scan(); {
		key, value, ok := strings.Cut(lines.Text(), "=")
		if key = strings.TrimSpace(key); !ok || strings.HasPrefix(key, "#") {
			continue
		}
		if err := c.set(key, strings.Trim(strings.TrimSpace(value), `"'`)); err != nil {
			return fmt.Errorf("reading %s: %w", name, err)
		}
	}
	return nil
}

// set applies a line of the configuration (lxc.container.conf(5)). An empty value resets lxc.cap.drop and lxc.cap.keep.
func (c *lxcConfig) set(key, value string) (err error) {
	switch key {
	case "lxc.include":
		return c.include(value)
	case "lxc.cap.drop":
		c.drop, err = addLXC(c.drop, value)
	case "lxc.cap.keep":
		c.keeps = value != ""
		c.keep, err = addLXC(c.keep, value)
	case "lxc.seccomp.profile":
		c.seccomp = value != ""
	case "lxc.no_new_privs":
		c.noNewPrivs = value == "1"
	case "lxc.net.0.type":
		c.hostNet = value == "none"
	case "lxc.rootfs.path":
		c.rootfs = value
	}
	return err
}

// addLXC adds the capabilities in a value to a set. "none" stands for no capability.
func addLXC(set capability.Set, value string) (capability.Set, error) {
	if value == "" {
		return 0, nil
	}
	for _, name := range strings.Fields(value) {
		number, err := strconv.ParseUint(name, 10, 6)
		switch one, known := ociNames["CAP_"+strings.ToUpper(name)]; {
		case name == "none":
			set = 0
		case err == nil:
			set = set.With(capability.Capability(number))
		case known:
			set = set.With(one)
		default:
			return 0, fmt.Errorf("%.40q is not a capability", name)
		}
	}
	return set, nil
}

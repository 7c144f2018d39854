package kernel

import (
	"errors"
	"fmt"

	"golang.org/x/sys/unix"
)

// Version is a kernel version. Vendors add features to a version and remove others. So use it only to check for
// [MinimumVersion], and probe for features otherwise.
type Version struct{ Major, Minor int }

// MinimumVersion is the first version that has everything that the BPF programs use. The newest of these features is
// the helper bpf_task_pt_regs.
var MinimumVersion = Version{5, 15}

// ErrTooOld is returned if the kernel is older than [MinimumVersion].
var ErrTooOld = errors.New("too old")

func (v Version) String() string { return fmt.Sprintf("%d.%d", v.Major, v.Minor) }

// Before reports whether v is an older version.
func (v Version) Before(other Version) bool {
	return v.Major < other.Major || v.Major == other.Major && v.Minor < other.Minor
}

// Release returns the release of the running kernel, as uname -r prints it.
func Release() (string, error) {
	var name unix.Utsname
	if err := unix.Uname(&name); err != nil {
		return "", fmt.Errorf("reading the kernel's release: %w", err)
	}
	return unix.ByteSliceToString(name.Release[:]), nil
}

// RunningVersion returns the version of the running kernel.
func RunningVersion() (Version, error) {
	release, err := Release()
	if err != nil {
		return Version{}, err
	}
	return ParseRelease(release)
}

// ParseRelease returns the version at the beginning of a release such as 5.15.0-91-generic.
func ParseRelease(release string) (Version, error) {
	var v Version
	if _, err := fmt.Sscanf(release, "%d.%d", &v.Major, &v.Minor); err != nil {
		return Version{}, fmt.Errorf("kernel release %q does not begin with a version", release)
	}
	return v, nil
}

// CheckRelease returns [ErrTooOld] if a release is older than [MinimumVersion].
func CheckRelease(release string) error {
	v, err := ParseRelease(release)
	if err != nil {
		return err
	}
	if v.Before(MinimumVersion) {
		return fmt.Errorf("kernel %s is %w: %v or later is needed", release, ErrTooOld, MinimumVersion)
	}
	return nil
}

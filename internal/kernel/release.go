package kernel

import (
	"errors"
	"fmt"

	"golang.org/x/sys/unix"
)

// Version is a kernel's version. Vendors change what a version can do in both
// directions: beyond MinimumVersion, probe for the feature instead.
type Version struct{ Major, Minor int }

// MinimumVersion is the oldest kernel that has what the programs use, the youngest
// of which is the helper bpf_task_pt_regs.
var MinimumVersion = Version{5, 15}

// ErrTooOld: the kernel is older than MinimumVersion.
var ErrTooOld = errors.New("too old")

func (v Version) String() string { return fmt.Sprintf("%d.%d", v.Major, v.Minor) }

// Before reports whether v is an older version.
func (v Version) Before(other Version) bool {
	return v.Major < other.Major || v.Major == other.Major && v.Minor < other.Minor
}

// Release is the kernel's release as uname -r tells.
func Release() (string, error) {
	var name unix.Utsname
	if err := unix.Uname(&name); err != nil {
		return "", fmt.Errorf("asking for the kernel's release: %w", err)
	}
	return unix.ByteSliceToString(name.Release[:]), nil
}

// RunningVersion is the version of the running kernel.
func RunningVersion() (Version, error) {
	release, err := Release()
	if err != nil {
		return Version{}, err
	}
	return ParseRelease(release)
}

// ParseRelease is the version that a release such as 5.15.0-91-generic begins with.
func ParseRelease(release string) (Version, error) {
	var v Version
	if _, err := fmt.Sscanf(release, "%d.%d", &v.Major, &v.Minor); err != nil {
		return Version{}, fmt.Errorf("kernel release %q does not begin with a version", release)
	}
	return v, nil
}

// CheckRelease fails with ErrTooOld if a release is older than MinimumVersion.
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

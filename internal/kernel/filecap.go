package kernel

import (
	"encoding/binary"
	"errors"
	"fmt"
	"os"

	"golang.org/x/sys/unix"

	"github.com/capmon/capmon/capability"
)

// FileCapabilities are the file capabilities of a program, as setcap(8) writes them. The zero value means none.
type FileCapabilities struct {
	Permitted, Inheritable capability.Set
	// Effective is set if the program starts with them in its effective set. If the kernel cannot give it all of them,
	// execve fails.
	Effective bool
}

// ReadFileCapabilities reads the capabilities of a file. It follows links.
func ReadFileCapabilities(path string) (FileCapabilities, error) {
	var data [64]byte // three times the longest version
	n, err := unix.Getxattr(path, "security.capability", data[:])
	// EOPNOTSUPP: the file system has no extended attributes.
	if errors.Is(err, unix.ENODATA) || errors.Is(err, unix.EOPNOTSUPP) {
		return FileCapabilities{}, nil
	}
	if err != nil {
		return FileCapabilities{}, fmt.Errorf("reading the file capabilities of %s: %w", path, err)
	}
	return parseFileCapabilities(data[:n])
}

// parseFileCapabilities reads struct vfs_cap_data and vfs_ns_cap_data of linux/capability.h, as get_vfs_caps_from_disk
// does (security/commoncap.c).
func parseFileCapabilities(data []byte) (FileCapabilities, error) {
	const (
		revisionMask = 0xff000000
		effective    = 0x000001
	)
	sizes := map[uint32]int{0x01000000: 12, 0x02000000: 20, 0x03000000: 24}
	if len(data) < 4 {
		return FileCapabilities{}, errors.New("security.capability is too short")
	}
	magic := binary.LittleEndian.Uint32(data)
	if size, ok := sizes[magic&revisionMask]; !ok || size != len(data) {
		return FileCapabilities{}, fmt.Errorf("security.capability has %d bytes and revision %#x, an unknown format", len(data), magic&revisionMask)
	}
	word := func(i int) capability.Set { return capability.Set(binary.LittleEndian.Uint32(data[4*i:])) }
	file := FileCapabilities{Permitted: word(1), Inheritable: word(2), Effective: magic&effective != 0}
	if len(data) >= 20 {
		file.Permitted |= word(3) << 32
		file.Inheritable |= word(4) << 32
	}
	return file, nil
}

// FileCapabilitiesOf reads the capabilities of an open file, which may be open with O_PATH, and then its status. The
// ctime in the status shows whether the file has changed since an earlier time.
func FileCapabilitiesOf(file *os.File) (FileCapabilities, unix.Stat_t, error) {
	var stat unix.Stat_t
	capabilities, err := ReadFileCapabilities(fmt.Sprintf("/proc/self/fd/%d", file.Fd()))
	if err == nil {
		err = unix.Fstat(int(file.Fd()), &stat)
	}
	return capabilities, stat, err
}

// Package kernelimage finds function calls in kernel files: in the kernel image and the modules of Debian's packages of
// x86-64 kernels. Tests compare these calls with capmon's tables.
package kernelimage

import (
	"bytes"
	"debug/elf"
	"encoding/binary"
	"fmt"
	"os"
	"os/exec"
	"strings"
)

// vmlinux decompresses the kernel in the file that a boot loader loads (Documentation/arch/x86/boot.rst).
func vmlinux(path string) (*elf.File, error) {
	const setupSectors, payloadOffset, payloadLength = 0x1f1, 0x248, 0x24c
	image, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	if len(image) < 1024 || string(image[0x202:0x206]) != "HdrS" {
		return nil, fmt.Errorf("%s is not an x86 kernel", path)
	}
	start := (int(image[setupSectors])+1)*512 + int(binary.LittleEndian.Uint32(image[payloadOffset:]))
	length := int(binary.LittleEndian.Uint32(image[payloadLength:]))
	if start+length > len(image) || length < 4 {
		return nil, fmt.Errorf("%s is truncated", path)
	}
	payload := image[start : start+length-4] // without the uncompressed size at the end
	content, err := decompress(payload)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	return elf.NewFile(bytes.NewReader(content))
}

// module reads a module, which may be compressed.
func module(path string) (*elf.File, error) {
	content, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	if !bytes.HasPrefix(content, []byte(elf.ELFMAG)) {
		if content, err = decompress(content); err != nil {
			return nil, fmt.Errorf("%s: %w", path, err)
		}
	}
	return elf.NewFile(bytes.NewReader(content))
}

// decompressors are the programs that decompress data with these first bytes.
var decompressors = []struct{ magic, program string }{
	{"\x28\xb5\x2f\xfd", "zstd"},
	{"\x02\x21\x4c\x18", "lz4"},
	{"\xfd7zXZ\x00", "xz"},
}

func decompress(content []byte) ([]byte, error) {
	for _, d := range decompressors {
		if bytes.HasPrefix(content, []byte(d.magic)) {
			command := exec.Command(d.program, "-dc")
			command.Stdin = bytes.NewReader(content)
			var stderr strings.Builder
			command.Stderr = &stderr
			output, err := command.Output()
			if err != nil {
				return nil, fmt.Errorf("%s: %w: %s", d.program, err, stderr.String())
			}
			return output, nil
		}
	}
	return nil, fmt.Errorf("unknown compression %x", content[:min(6, len(content))])
}

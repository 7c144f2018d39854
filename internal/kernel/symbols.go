// Package kernel knows the running kernel: its symbols, system calls, cgroup
// hierarchies and what it allows capmon to do.
package kernel

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strconv"
	"strings"
)

// ErrSymbolsHidden: the kernel shows all addresses as zero.
var ErrSymbolsHidden = errors.New("the kernel hides its symbols' addresses: run as root, or give CAP_SYSLOG (kernel.kptr_restrict)")

// Symbols are the functions of the kernel and its modules by address.
type Symbols struct{ sorted []symbol }

type symbol struct {
	address uint64
	name    string
}

// LoadSymbols reads /proc/kallsyms. The error is ErrSymbolsHidden if addresses
// are hidden from this process.
func LoadSymbols() (*Symbols, error) {
	file, err := os.Open("/proc/kallsyms")
	if err != nil {
		return nil, fmt.Errorf("reading kernel symbols: %w", err)
	}
	defer file.Close()
	return ParseSymbols(file)
}

// ParseSymbols reads text in the form of /proc/kallsyms: address, type, name.
func ParseSymbols(r io.Reader) (*Symbols, error) {
	s := &Symbols{}
	lines := bufio.NewScanner(r)
	var hidden bool
	for lines.Scan() {
		address, kind, name, ok := fields(lines.Bytes())
		if !ok || kind != 't' && kind != 'T' && kind != 'w' && kind != 'W' {
			continue
		}
		value, err := strconv.ParseUint(string(address), 16, 64)
		if err != nil {
			return nil, fmt.Errorf("reading kernel symbols: %w", err)
		}
		if value == 0 {
			hidden = true
			continue
		}
		if bytes.HasPrefix(name, []byte("__pfx_")) {
			continue // padding before the function of the same name (since 6.3)
		}
		s.sorted = append(s.sorted, symbol{value, string(name)})
	}
	if err := lines.Err(); err != nil {
		return nil, fmt.Errorf("reading kernel symbols: %w", err)
	}
	if len(s.sorted) == 0 && hidden {
		return nil, ErrSymbolsHidden
	}
	// Stable, so that of aliases at one address the first named is found.
	slices.SortStableFunc(s.sorted, func(one, other symbol) int {
		if one.address < other.address {
			return -1
		}
		if one.address > other.address {
			return 1
		}
		return 0
	})
	return s, nil
}

func fields(line []byte) (address []byte, kind byte, name []byte, ok bool) {
	address, rest, ok := bytes.Cut(line, []byte(" "))
	if !ok || len(rest) < 3 || rest[1] != ' ' {
		return nil, 0, nil, false
	}
	name, _, _ = bytes.Cut(rest[2:], []byte("\t")) // a module's name follows
	return address, rest[0], name, true
}

// at is the index of the symbol that address is in, -1 if it is before all.
func (s *Symbols) at(address uint64) int {
	i, found := slices.BinarySearchFunc(s.sorted, address, func(sym symbol, address uint64) int {
		if sym.address < address {
			return -1
		}
		if sym.address > address {
			return 1
		}
		return 0
	})
	if !found {
		return i - 1
	}
	for i > 0 && s.sorted[i-1].address == address {
		i--
	}
	return i
}

// Lookup names the function that address is in, without what the compiler
// appended to the name, and how far into it.
func (s *Symbols) Lookup(address uint64) (name string, offset uint64, ok bool) {
	i := s.at(address)
	if i < 0 {
		return "", 0, false
	}
	sym := s.sorted[i]
	for i > 0 && s.sorted[i-1].address == sym.address {
		i--
		sym = s.sorted[i]
	}
	return baseName(sym.name), address - sym.address, true
}

// Range is where a function begins and where the next one does.
func (s *Symbols) Range(name string) (start, end uint64, ok bool) {
	i := slices.IndexFunc(s.sorted, func(sym symbol) bool { return sym.name == name })
	if i < 0 {
		return 0, 0, false
	}
	start = s.sorted[i].address
	for _, sym := range s.sorted[i:] {
		if sym.address > start {
			return start, sym.address, true
		}
	}
	return start, ^uint64(0), true
}

// Frames names the functions of a stack of return addresses; a zero ends it. A
// return address is one behind the call, which may be the function's last
// instruction.
func (s *Symbols) Frames(addresses []uint64) []string {
	var names []string
	for _, address := range addresses {
		if address == 0 {
			break
		}
		name, _, ok := s.Lookup(address - 1)
		if !ok {
			name = fmt.Sprintf("0x%x", address)
		}
		names = append(names, name)
	}
	return names
}

// baseName takes off what gcc and clang append to the name of a function that
// they split, specialise or rename.
func baseName(name string) string {
	if i := strings.IndexByte(name, '.'); i > 0 {
		return name[:i]
	}
	return name
}

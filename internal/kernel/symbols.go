// Package kernel knows the running kernel: its symbols, system calls, cgroup
// hierarchies and what it allows capmon to do.
package kernel

import (
	"bufio"
	"bytes"
	"cmp"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strconv"
	"strings"
)

// ErrSymbolsHidden: the kernel shows all addresses as zero.
var ErrSymbolsHidden = errors.New("the kernel hides its symbols' addresses: run as root or with CAP_SYSLOG, and set kernel.kptr_restrict to 0 or 1")

// UnknownFunction stands in a stack for an address that no symbol covers: a BPF
// program or a trampoline, of a module loaded since the symbols were read. The address
// itself would tell where the kernel lies in memory, and differ at every boot.
const UnknownFunction = "?"

// Symbols are the functions of the kernel and of the modules that were loaded
// when they were read.
type Symbols struct {
	sorted []symbol // by address; of aliases the one to show first
	names  string   // all names, one after the other
	// modules were loaded when they were read.
	modules []string
	orc     map[string]uint64 // of what OrcTables needs
}

type symbol struct {
	address uint64
	name    uint32 // where in names
	length  uint16 // at most KSYM_NAME_LEN, 512
	global  bool
}

// LoadSymbols reads /proc/kallsyms. The error is ErrSymbolsHidden if addresses
// are hidden from this process (kallsyms_show_value, kernel/ksyms_common.c).
func LoadSymbols() (*Symbols, error) {
	// In this order a module loaded meanwhile makes the symbols stale at worst.
	modules, err := loadedModules()
	if err != nil {
		return nil, fmt.Errorf("reading kernel symbols: %w", err)
	}
	file, err := os.Open("/proc/kallsyms")
	if err != nil {
		return nil, fmt.Errorf("reading kernel symbols: %w", err)
	}
	defer file.Close()
	s, err := ParseSymbols(file)
	if err != nil {
		return nil, err
	}
	s.modules = modules
	return s, nil
}

// Stale reports whether modules were loaded or removed since the symbols were read.
// The kernel loads them on demand, and puts them where the last function of another
// one seems to go on: Lookup would name that.
func (s *Symbols) Stale() bool {
	modules, err := loadedModules()
	return err != nil || !slices.Equal(modules, s.modules)
}

// loadedModules are the names and addresses of the modules; none in a kernel without.
func loadedModules() ([]string, error) {
	text, err := os.ReadFile("/proc/modules")
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		return nil, err
	}
	return parseModules(string(text)), nil
}

// parseModules leaves out how often each module is in use, which changes all the time.
func parseModules(text string) []string {
	var modules []string
	for line := range strings.Lines(text) {
		// Name, size, uses, users, state, address, and perhaps taints.
		if fields := strings.Fields(line); len(fields) >= 6 {
			modules = append(modules, fields[0]+" "+fields[5])
		}
	}
	return modules
}

// ParseSymbols reads text in the form of /proc/kallsyms: address, type, name and,
// for modules and BPF programs, where it comes from.
func ParseSymbols(r io.Reader) (*Symbols, error) {
	const usual = 1 << 17 // functions, of 20 bytes, in a distribution's kernel
	sorted := make([]symbol, 0, usual)
	var names strings.Builder
	names.Grow(usual * 20)

	lines := bufio.NewScanner(r)
	orc := make(map[string]uint64)
	var hidden bool
	for lines.Scan() {
		address, kind, name, ok := fields(lines.Bytes())
		label := ok && isOrcLabel(name) && !bytes.Contains(lines.Bytes(), []byte("\t")) // not a module's
		if !ok || !isFunction(kind, name) && !label {
			continue
		}
		value, err := parseHex(address)
		if err != nil {
			return nil, fmt.Errorf("reading kernel symbols: %w", err)
		}
		if value == 0 {
			hidden = true
			continue
		}
		if label {
			if _, twice := orc[string(name)]; twice {
				value = 0
			}
			orc[string(name)] = value
			continue
		}
		sorted = append(sorted, symbol{value, uint32(names.Len()), uint16(len(name)), kind == 'T'})
		names.Write(name)
	}
	if err := lines.Err(); err != nil {
		return nil, fmt.Errorf("reading kernel symbols: %w", err)
	}
	if len(sorted) == 0 {
		if hidden {
			return nil, ErrSymbolsHidden
		}
		return nil, errors.New("reading kernel symbols: there are none")
	}
	s := &Symbols{sorted: sorted, names: names.String(), orc: orc}
	slices.SortFunc(s.sorted, func(one, other symbol) int {
		if one.address != other.address {
			return cmp.Compare(one.address, other.address)
		}
		return s.preference(one, other)
	})
	return s, nil
}

// parseHex reads what the kernel prints as %px. It saves the string that
// strconv.ParseUint would need for each of 120 000 lines.
func parseHex(digits []byte) (value uint64, err error) {
	if len(digits) > 16 {
		return 0, fmt.Errorf("address %q: %w", digits, strconv.ErrRange)
	}
	for _, digit := range digits {
		switch {
		case '0' <= digit && digit <= '9':
			digit -= '0'
		case 'a' <= digit && digit <= 'f':
			digit -= 'a' - 10
		default:
			return 0, fmt.Errorf("address %q: %w", digits, strconv.ErrSyntax)
		}
		value = value<<4 | uint64(digit)
	}
	return value, nil
}

func fields(line []byte) (address []byte, kind byte, name []byte, ok bool) {
	address, rest, ok := bytes.Cut(line, []byte(" "))
	if !ok || len(rest) < 3 || rest[1] != ' ' {
		return nil, 0, nil, false
	}
	name, _, _ = bytes.Cut(rest[2:], []byte("\t")) // a module's name follows
	return address, rest[0], name, true
}

// isFunction leaves out data, the padding before a function that bears its name
// with a prefix (CONFIG_FUNCTION_PADDING_BYTES, 6.2 and later) and the mapping
// symbols of ARM.
func isFunction(kind byte, name []byte) bool {
	switch kind {
	case 't', 'T', 'w', 'W':
		return len(name) > 0 && name[0] != '$' && !bytes.HasPrefix(name, []byte("__pfx_"))
	}
	return false
}

// isMarker tells labels of the linker script (include/asm-generic/vmlinux.lds.h)
// from functions, which often lie at the same address.
func isMarker(name string) bool {
	switch name {
	case "_text", "_stext", "_sinittext", "__pi__text", "__pi__stext":
		return true
	}
	return isEnd(name) || strings.HasSuffix(name, "_text_start") || strings.HasSuffix(name, "_text_end")
}

// isEnd: behind this label there is no code of the kernel proper.
func isEnd(name string) bool { return name == "_etext" || name == "_einittext" }

// preference orders aliases: a function's own name, then the entries of a system
// call without arguments, whose function is __do_sys_NAME, and labels last; of
// several the global one; then by the alphabet.
func (s *Symbols) preference(one, other symbol) int {
	oneName, otherName := s.name(one), s.name(other)
	if order := cmp.Compare(rank(oneName), rank(otherName)); order != 0 {
		return order
	}
	if one.global != other.global {
		if one.global {
			return -1
		}
		return 1
	}
	return cmp.Compare(oneName, otherName)
}

func rank(name string) int {
	switch {
	case isMarker(name):
		return 2
	case strings.HasPrefix(name, "__x64_"), strings.HasPrefix(name, "__ia32_"),
		strings.HasPrefix(name, "__arm64_"), strings.HasPrefix(name, "__pi_"):
		return 1
	}
	return 0
}

func (s *Symbols) name(sym symbol) string {
	return s.names[sym.name : sym.name+uint32(sym.length)]
}

// longest is more than any function has. Between the kernel proper and its modules
// there is much more room than that.
const longest = 1 << 20

// Lookup names the function that address is in, without what the compiler
// appended to the name, and how far into it; within a part that the compiler
// moved elsewhere (NAME.cold), how far into that part. It fails for an address in
// no function known.
//
// A return address is the one behind the call, and the call may be the last
// instruction of its function: look up the address before it, or use Frames.
func (s *Symbols) Lookup(address uint64) (name string, offset uint64, ok bool) {
	behind, _ := slices.BinarySearchFunc(s.sorted, address, func(sym symbol, address uint64) int {
		if sym.address <= address {
			return -1
		}
		return 1
	})
	if behind == 0 {
		return "", 0, false
	}
	i := behind - 1
	start := s.sorted[i].address
	for i > 0 && s.sorted[i-1].address == start {
		i--
	}
	name = s.name(s.sorted[i])
	if isEnd(name) || address-start >= longest {
		return "", 0, false
	}
	return baseName(name), address - start, true
}

// Range is where a function begins and where the next symbol does, by its full
// name in /proc/kallsyms. Of several functions with that name it is the global
// one, or else the first.
func (s *Symbols) Range(name string) (start, end uint64, ok bool) {
	found := -1
	for i, sym := range s.sorted {
		if s.name(sym) != name {
			continue
		}
		if found < 0 || sym.global && !s.sorted[found].global {
			found = i
		}
	}
	if found < 0 {
		return 0, 0, false
	}
	start = s.sorted[found].address
	for _, sym := range s.sorted[found:] {
		if sym.address > start {
			return start, min(sym.address, start+longest), true
		}
	}
	return start, start + longest, true
}

// Frames names the functions of a stack of return addresses; a zero ends it.
// Where none is known, it is UnknownFunction.
func (s *Symbols) Frames(addresses []uint64) []string {
	var names []string
	for _, address := range addresses {
		if address == 0 {
			break
		}
		name, _, ok := s.Lookup(address - 1)
		if !ok {
			name = UnknownFunction
		}
		names = append(names, name)
	}
	return names
}

// baseName takes off what gcc and clang append to the name of a function that
// they split, specialise or rename (.cold, .part.0, .isra.0, .constprop.0,
// .llvm.123); there is no dot in a name of C.
func baseName(name string) string {
	if i := strings.IndexByte(name, '.'); i > 0 {
		return name[:i]
	}
	return name
}

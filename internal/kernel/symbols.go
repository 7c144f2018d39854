// Package kernel provides information about the running kernel: its symbols and cgroup hierarchies, and what it allows
// capmon to do.
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

// ErrSymbolsHidden is returned if the kernel shows all addresses as zero.
var ErrSymbolsHidden = errors.New("the kernel hides its symbols' addresses: run as root or with CAP_SYSLOG, and set kernel.kptr_restrict to 0 or 1")

// UnknownFunction replaces an address without a symbol in a stack: a BPF program, a trampoline, or a function of a
// module that was loaded after the symbols were read. The address itself would reveal the kernel's position in memory,
// and differs at every boot.
const UnknownFunction = "?"

// Symbols are the functions of the kernel and of the modules that were loaded when the symbols were read.
type Symbols struct {
	sorted  []symbol          // by address; among aliases, the preferred name comes first
	names   string            // concatenation of all names
	modules []string          // loaded modules when the symbols were read
	orc     map[string]uint64 // addresses that OrcTables needs
}

type symbol struct {
	address uint64
	name    uint32 // offset in names
	length  uint16 // at most KSYM_NAME_LEN, 512
	global  bool
}

// LoadSymbols reads /proc/kallsyms. It returns [ErrSymbolsHidden] if the kernel hides the addresses from this process
// (kallsyms_show_value, kernel/ksyms_common.c).
func LoadSymbols() (*Symbols, error) {
	// The modules are read first: if a module is loaded in between, the symbols are at worst stale.
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

// Stale reports whether modules were loaded or removed since the symbols were read. The kernel loads modules on demand.
// The code of a new module may follow the last function of another one, and [Symbols.Lookup] would then return that
// function.
func (s *Symbols) Stale() bool {
	modules, err := loadedModules()
	return err != nil || !slices.Equal(modules, s.modules)
}

// loadedModules returns the names and addresses of the modules; none if the kernel has no module support.
func loadedModules() ([]string, error) {
	text, err := os.ReadFile("/proc/modules")
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		return nil, err
	}
	return parseModules(string(text)), nil
}

// parseModules reads /proc/modules. It omits the use counts of the modules, which change often.
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

// ParseSymbols reads text in the format of /proc/kallsyms: address, type and name, and the origin of symbols of modules
// and BPF programs.
func ParseSymbols(r io.Reader) (*Symbols, error) {
	const typical = 1 << 17 // functions in a distribution's kernel, with names of about 20 bytes
	sorted := make([]symbol, 0, typical)
	var names strings.Builder
	names.Grow(typical * 20)

	lines := bufio.NewScanner(r)
	orc := make(map[string]uint64)
	var hidden bool
	for lines.Scan() {
		address, kind, name, ok := fields(lines.Bytes())
		label := ok && isOrcLabel(name) && !bytes.Contains(lines.Bytes(), []byte("\t")) // not the label of a module
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
		return nil, errors.New("reading kernel symbols: found no functions")
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

// parseHex reads an address that the kernel printed with %px. Unlike strconv.ParseUint, it does not allocate a string
// for each of 120 000 lines.
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
	name, _, _ = bytes.Cut(rest[2:], []byte("\t")) // the name of a module follows
	return address, rest[0], name, true
}

// isFunction reports whether a symbol is a function. It is false for data, for padding before functions, whose name is
// that of the function with a prefix (CONFIG_FUNCTION_PADDING_BYTES, 6.2 and later), and for the mapping symbols of
// ARM.
func isFunction(kind byte, name []byte) bool {
	switch kind {
	case 't', 'T', 'w', 'W':
		return len(name) > 0 && name[0] != '$' && !bytes.HasPrefix(name, []byte("__pfx_"))
	}
	return false
}

// isMarker reports whether a symbol is a label of the linker script (include/asm-generic/vmlinux.lds.h) and not a
// function. Labels and functions often have the same address.
func isMarker(name string) bool {
	switch name {
	case "_text", "_stext", "_sinittext", "__pi__text", "__pi__stext":
		return true
	}
	return isEnd(name) || strings.HasSuffix(name, "_text_start") || strings.HasSuffix(name, "_text_end")
}

// isEnd reports whether a symbol is a label at the end of the kernel image's code.
func isEnd(name string) bool { return name == "_etext" || name == "_einittext" }

// preference compares two aliases. A function's own name comes first, then the entry points of a system call without
// arguments, whose function is __do_sys_NAME, and labels last. Among equals, global names come first, then alphabetical
// order decides.
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

// maxFunctionSize is more bytes than any function has. The distance between the kernel image and its modules is much
// larger.
const maxFunctionSize = 1 << 20

// Lookup returns the function that contains an address and the offset in it. The name is without the suffix that the
// compiler appended. In a part that the compiler moved elsewhere (NAME.cold), the offset is relative to that part. ok
// is false if no known function contains the address.
//
// A return address is the address after the call, which may be the last instruction of its function. So look up the
// address before it, or use [Symbols.Frames].
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
	if isEnd(name) || address-start >= maxFunctionSize {
		return "", 0, false
	}
	return baseName(name), address - start, true
}

// Range returns where a function begins and where the next symbol begins. name is the full name in /proc/kallsyms. If
// several functions have that name, Range uses the global one, or else the first.
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
			return start, min(sym.address, start+maxFunctionSize), true
		}
	}
	return start, start + maxFunctionSize, true
}

// Frames returns the names of the functions in a stack of return addresses, up to the first zero. For an address in no
// known function, the name is [UnknownFunction].
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

// baseName removes the suffix that gcc and clang append to the name of a function that they split, specialize or rename
// (.cold, .part.0, .isra.0, .constprop.0, .llvm.123). Names in C have no dot.
func baseName(name string) string {
	if i := strings.IndexByte(name, '.'); i > 0 {
		return name[:i]
	}
	return name
}

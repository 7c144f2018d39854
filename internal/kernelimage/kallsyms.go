package kernelimage

import (
	"bytes"
	"cmp"
	"debug/elf"
	"encoding/binary"
	"errors"
	"slices"
	"strings"
)

// function is the name and the start address of a function.
type function struct {
	name  string
	start uint64
}

// functions reads the kernel's own table of symbols, the only one that distributions leave in an image. It recognizes
// the parts of the table by their content (scripts/kallsyms.c), because the images have no symbols for them. Before
// 6.4, the offsets were the first part.
func functions(file *elf.File) ([]function, error) {
	rodata := file.Section(".rodata")
	if rodata == nil {
		return nil, errors.New("no read-only data")
	}
	data, err := rodata.Data()
	if err != nil {
		return nil, err
	}
	table, err := findTable(data)
	if err != nil {
		return nil, err
	}
	text := file.Section(".text").Addr
	addresses, ok := table.addresses(data, rodata.Addr, text)
	if !ok {
		return nil, errors.New("addresses of the symbols not found")
	}
	var all []function
	for i, symbol := range table.symbols {
		if strings.Contains("tTwW", symbol[:1]) && !strings.HasPrefix(symbol[1:], padding) {
			all = append(all, function{base(symbol[1:]), addresses[i]})
		}
	}
	sortFunctions(all)
	return all, nil
}

// padding is the prefix of the names of padding before functions.
const padding = "__pfx_"

// base returns the name of a function without the suffix that compilers append if they split or specialize a function,
// such as .cold and .isra.0.
func base(symbol string) string {
	name, _, _ := strings.Cut(symbol, ".")
	return name
}

func sortFunctions(all []function) {
	slices.SortStableFunc(all, func(a, b function) int { return cmp.Compare(a.start, b.start) })
}

// enclosing returns the function that contains an address. The functions must be sorted by address.
func enclosing(all []function, address uint64) (function, bool) {
	after, _ := slices.BinarySearchFunc(all, address+1, func(f function, to uint64) int { return cmp.Compare(f.start, to) })
	if after == 0 {
		return function{}, false
	}
	return all[after-1], true
}

// symbolTable is the table of symbols without their addresses.
type symbolTable struct {
	symbols []string // the first byte of each is the symbol's type
	// start is the offset of the number of symbols in the data, end the offset behind the index of the tokens.
	start, end int
}

// findTable searches for the tokens, from which the names are built, and the index that follows them. The digits are
// tokens in every table.
func findTable(data []byte) (symbolTable, error) {
	const digits = "0\x001\x002\x003\x004\x005\x006\x007\x008\x009\x00"
	for from := 0; ; from++ {
		found := bytes.Index(data[from:], []byte(digits))
		if found < 0 {
			return symbolTable{}, errors.New("table of symbols not found")
		}
		from += found
		start := from
		for token := '0'; token > 0 && start > 0; token-- {
			start = bytes.LastIndexByte(data[:start-1], 0) + 1
		}
		tokens, end, ok := readTokens(data, start)
		if !ok {
			continue
		}
		if table, ok := findNames(data, start, tokens); ok {
			table.end = end
			return table, nil
		}
	}
}

// readTokens reads the tokens and verifies their index. end is the offset behind the index.
func readTokens(data []byte, start int) (tokens []string, end int, ok bool) {
	var index []byte
	end = start
	for range 256 {
		length := bytes.IndexByte(data[end:], 0)
		if length < 0 {
			return nil, 0, false
		}
		index = binary.LittleEndian.AppendUint16(index, uint16(end-start))
		tokens = append(tokens, string(data[end:end+length]))
		end += length + 1
	}
	for _, alignment := range alignments {
		if at := align(end, alignment); bytes.HasPrefix(data[min(at, len(data)):], index) {
			return tokens, at + len(index), true
		}
	}
	return nil, 0, false
}

// alignments are the possible alignments of the parts: 8 up to 6.x.
var alignments = []int{8, 4}

func align(n, alignment int) int { return (n + alignment - 1) &^ (alignment - 1) }

func word(data []byte, at int) int { return int(binary.LittleEndian.Uint32(data[at:])) }

// findNames searches the data before the tokens for the number of symbols, that many names, and the markers, which are
// the offsets of each 256th name.
func findNames(data []byte, end int, tokens []string) (symbolTable, bool) {
	for start := align(end-8, 8); start > 0; start -= 4 {
		number := word(data, start)
		if number < 1<<14 || number > 1<<20 {
			continue
		}
		for _, alignment := range alignments {
			if symbols, ok := readNames(data[align(start+4, alignment):end], number, tokens); ok {
				return symbolTable{symbols: symbols, start: start}, true
			}
		}
	}
	return symbolTable{}, false
}

// readNames reads names. Each name is a length and that many tokens.
func readNames(data []byte, number int, tokens []string) ([]string, bool) {
	var symbols []string
	var name strings.Builder
	at, second := 0, 0 // second is the value of the second marker
	for len(symbols) < number {
		if len(symbols) == 256 {
			second = at
		}
		if at+2 > len(data) {
			return nil, false
		}
		length := int(data[at])
		at++
		if length&0x80 != 0 {
			length = length&0x7f | int(data[at])<<7
			at++
		}
		if length == 0 || at+length > len(data) {
			return nil, false
		}
		name.Reset()
		for _, token := range data[at : at+length] {
			name.WriteString(tokens[token])
		}
		if name.Len() < 2 || !strings.Contains("aAbBdDrRtTuvVwW", name.String()[:1]) {
			return nil, false
		}
		symbols = append(symbols, name.String())
		at += length
	}
	for _, alignment := range alignments {
		if markers := align(at, alignment); markers+8 <= len(data) && word(data, markers) == 0 && word(data, markers+4) == second {
			return symbols, true
		}
	}
	return nil, false
}

// addresses tries the layouts of all kernel versions, and uses the one in which _stext is the beginning of the code.
func (t symbolTable) addresses(data []byte, address, text uint64) ([]uint64, bool) {
	number := len(t.symbols)
	stext := slices.Index(t.symbols, "T_stext")
	if stext < 0 {
		return nil, false
	}
	size := align(4*number, 8)
	for _, layout := range []struct{ offsets, base int }{
		{t.start - 8 - size, t.start - 8}, // up to 6.3
		{align(t.end, 8), align(t.end, 8) + size},
		{align(t.end, 4), align(t.end, 4)}, // no base in this layout
	} {
		if layout.offsets < 0 || layout.base+8 > len(data) {
			continue
		}
		offset := func(i int) uint64 { return uint64(int32(binary.LittleEndian.Uint32(data[layout.offsets+4*i:]))) }
		base := binary.LittleEndian.Uint64(data[layout.base:])
		for _, resolve := range []func(int) uint64{
			func(i int) uint64 { return base - 1 - offset(i) }, // up to 6.14; wrong for per-CPU variables
			func(i int) uint64 { return base + offset(i)&0xffffffff },
			func(i int) uint64 { return address + uint64(layout.offsets+4*i) + offset(i) },
		} {
			if resolve(stext) != text {
				continue
			}
			addresses := make([]uint64, number)
			for i := range addresses {
				addresses[i] = resolve(i)
			}
			return addresses, true
		}
	}
	return nil, false
}

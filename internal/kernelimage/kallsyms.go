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

// function is a piece of code and its name.
type function struct {
	name  string
	start uint64
}

// functions reads the kernel's own table of symbols, the only one that distributions leave in an
// image. Its parts are found by what they look like (scripts/kallsyms.c): the images have no
// symbols that would name them. Their order changed in 6.4: the offsets were the first.
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

// padding before functions has names that begin with this.
const padding = "__pfx_"

// base is the name of a function without what compilers append to those that they split or
// specialise, such as .cold and .isra.0.
func base(symbol string) string {
	name, _, _ := strings.Cut(symbol, ".")
	return name
}

func sortFunctions(all []function) {
	slices.SortStableFunc(all, func(a, b function) int { return cmp.Compare(a.start, b.start) })
}

// enclosing is the function whose code has this address, of functions in order.
func enclosing(all []function, address uint64) (function, bool) {
	after, _ := slices.BinarySearchFunc(all, address+1, func(f function, to uint64) int { return cmp.Compare(f.start, to) })
	if after == 0 {
		return function{}, false
	}
	return all[after-1], true
}

// symbolTable is the table without its addresses.
type symbolTable struct {
	symbols    []string // each with its type first
	start, end int      // in the data: of the number of symbols, and of the tokens' index
}

// findTable looks for the tokens, of which the names consist, and the index that follows. Every
// table has the digits as tokens.
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

// readTokens reads the tokens and verifies their index. It also returns where that ends.
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

// alignments of the parts: 8 up to 6.x.
var alignments = []int{8, 4}

func align(n, alignment int) int { return (n + alignment - 1) &^ (alignment - 1) }

func word(data []byte, at int) int { return int(binary.LittleEndian.Uint32(data[at:])) }

// findNames looks, in what is before the tokens, for the number of symbols, that many names, and the
// markers, which say where each 256th name begins.
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

// readNames reads names, each of which is a length and so many tokens.
func readNames(data []byte, number int, tokens []string) ([]string, bool) {
	var symbols []string
	var name strings.Builder
	at, second := 0, 0 // second: where the second marker points
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

// addresses tries the layouts that kernels have had, and takes the one in which _stext is where
// the code begins.
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
		{align(t.end, 4), align(t.end, 4)}, // without a base
	} {
		if layout.offsets < 0 || layout.base+8 > len(data) {
			continue
		}
		offset := func(i int) uint64 { return uint64(int32(binary.LittleEndian.Uint32(data[layout.offsets+4*i:]))) }
		base := binary.LittleEndian.Uint64(data[layout.base:])
		for _, resolve := range []func(int) uint64{
			func(i int) uint64 { return base - 1 - offset(i) }, // up to 6.14; the variables per CPU are others
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

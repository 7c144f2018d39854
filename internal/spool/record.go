package spool

import (
	"bytes"
	"fmt"
	"hash/crc32"
	"strconv"
)

// overhead is by how much a record's line is longer than the record.
const overhead = 8 + 1 + 16 + 1 + 1

// lastNumber is far beyond what is reached by counting.
const lastNumber = 1 << 62

// castagnoli is the polynomial that file formats of today take for their checksums.
var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// record is a line of a segment: its checksum, its number in 16 digits and what was to be kept,
// with spaces in between. The number makes it the same record wherever it is read.
type record struct {
	number uint64
	data   []byte
}

// size is the room that a record of some data takes.
func size(data []byte) int64 { return int64(len(data) + overhead) }

func (r record) appendTo(lines []byte) []byte {
	body := append(fmt.Appendf(nil, "%016x ", r.number), r.data...)
	return append(sealed(lines, body), '\n')
}

// parseRecord reads a line without its line feed; false if it is damaged.
func parseRecord(line []byte) (record, bool) {
	body, ok := unsealed(line)
	if !ok {
		return record{}, false
	}
	number, data, ok := bytes.Cut(body, []byte(" "))
	if !ok {
		return record{}, false
	}
	n, err := strconv.ParseUint(string(number), 16, 64)
	return record{n, data}, err == nil && n > 0 && n <= lastNumber
}

// sealed appends text behind its checksum.
func sealed(out, text []byte) []byte {
	return append(fmt.Appendf(out, "%08x ", crc32.Checksum(text, castagnoli)), text...)
}

// unsealed is the text behind a checksum, if it is the text's.
func unsealed(line []byte) ([]byte, bool) {
	sum, text, ok := bytes.Cut(line, []byte(" "))
	if !ok || len(sum) != 8 {
		return nil, false
	}
	want, err := strconv.ParseUint(string(sum), 16, 32)
	return text, err == nil && uint32(want) == crc32.Checksum(text, castagnoli)
}

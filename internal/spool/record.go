package spool

import (
	"bytes"
	"fmt"
	"hash/crc32"
	"strconv"
)

// overhead is the difference between the length of a record's line and of its data.
const overhead = 8 + 1 + 16 + 1 + 1

// lastNumber is the highest valid number. Counting never reaches it.
const lastNumber = 1 << 62

// castagnoli is the table of the CRC-32 polynomial that is common in file formats.
var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// record is a line of a segment: the checksum, the number in 16 hexadecimal digits and the data, separated by
// spaces. The number identifies the record in all segments.
type record struct {
	number uint64
	data   []byte
}

// size returns the space that a record with the data uses.
func size(data []byte) int64 { return int64(len(data) + overhead) }

func (r record) appendTo(lines []byte) []byte {
	body := append(fmt.Appendf(nil, "%016x ", r.number), r.data...)
	return append(sealed(lines, body), '\n')
}

// parseRecord parses a line without its line feed. It returns false if the line is damaged.
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

// sealed appends the checksum of text, and text, to out.
func sealed(out, text []byte) []byte {
	return append(fmt.Appendf(out, "%08x ", crc32.Checksum(text, castagnoli)), text...)
}

// unsealed returns the text after the checksum. It returns false if the checksum does not match.
func unsealed(line []byte) ([]byte, bool) {
	sum, text, ok := bytes.Cut(line, []byte(" "))
	if !ok || len(sum) != 8 {
		return nil, false
	}
	want, err := strconv.ParseUint(string(sum), 16, 32)
	return text, err == nil && uint32(want) == crc32.Checksum(text, castagnoli)
}

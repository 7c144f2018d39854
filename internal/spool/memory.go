package spool

import "slices"

// memory keeps records for as long as the process lives.
type memory struct {
	records [][]byte
	bytes   int64
}

func (m *memory) append(all [][]byte) error {
	m.records = append(m.records, all...)
	for _, data := range all {
		m.bytes += size(data)
	}
	return nil
}

func (m *memory) read(most int) ([][]byte, error) {
	return slices.Clone(m.records[:min(most, len(m.records))]), nil
}

func (m *memory) remove(n int) error {
	for _, data := range m.records[:n] {
		m.bytes -= size(data)
	}
	clear(m.records[:n])
	m.records = m.records[n:]
	return nil
}

func (m *memory) length() int  { return len(m.records) }
func (m *memory) size() int64  { return m.bytes }
func (m *memory) close() error { return nil }

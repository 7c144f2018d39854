package kernel

import (
	"strings"
	"testing"
)

func TestOrcTables(t *testing.T) {
	const code = "ffffffff81000100 T cap_capable\n"
	const tables = "ffffffff83000000 R __start_orc_unwind_ip\n" +
		"ffffffff83000040 R __start_orc_unwind\nffffffff83000040 R __stop_orc_unwind_ip\nffffffff830000a0 R __stop_orc_unwind\n"
	want := OrcTables{IPs: 0xffffffff83000000, Entries: 0xffffffff83000040, Count: 16}
	for _, test := range []struct {
		symbols string
		want    OrcTables
	}{
		{code + tables, want},
		{code, OrcTables{}},
	} {
		symbols, err := ParseSymbols(strings.NewReader(test.symbols))
		if err != nil {
			t.Fatal(err)
		}
		got, ok := symbols.OrcTables()
		if got != test.want || ok != (test.want != OrcTables{}) {
			t.Errorf("%s: got %+v, %v", test.symbols, got, ok)
		}
	}
}

func TestText(t *testing.T) {
	const start, end = "ffffffff81000000 T _stext\n", "ffffffff82000000 T _etext\n"
	for _, test := range []struct {
		symbols    string
		start, end uint64
		ok         bool
	}{
		{start + end, 0xffffffff81000000, 0xffffffff82000000, true},
		{start, 0, 0, false},
		{end, 0, 0, false},
	} {
		symbols, err := ParseSymbols(strings.NewReader("ffffffff81000100 T cap_capable\n" + test.symbols))
		if err != nil {
			t.Fatal(err)
		}
		if start, end, ok := symbols.Text(); start != test.start || end != test.end || ok != test.ok {
			t.Errorf("%s: got %x, %x, %v", test.symbols, start, end, ok)
		}
	}
}

package kernel

import (
	"strings"
	"testing"
)

func TestOrcTables(t *testing.T) {
	const code = "ffffffff81000000 T _stext\nffffffff81000100 T cap_capable\nffffffff82000000 T _etext\n"
	const tables = "ffffffff83000000 R __start_orc_unwind_ip\n" +
		"ffffffff83000040 R __start_orc_unwind\nffffffff83000040 R __stop_orc_unwind_ip\nffffffff830000a0 R __stop_orc_unwind\n"
	want := OrcTables{
		IPs: 0xffffffff83000000, Entries: 0xffffffff83000040, Count: 16,
		TextStart: 0xffffffff81000000, TextEnd: 0xffffffff82000000,
	}
	for _, test := range []struct {
		symbols string
		want    OrcTables
	}{
		{code + tables, want},
		{code, OrcTables{}},
		{"ffffffff81000100 T cap_capable\n" + tables, OrcTables{}},
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

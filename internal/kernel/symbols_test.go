package kernel

import (
	"errors"
	"slices"
	"strings"
	"testing"

	"github.com/capmon/capmon/internal/testutil"
)

const kallsyms = `ffffffff81000000 T srso_alias_untrain_ret
ffffffff81000000 T _stext
ffffffff81000000 T _text
ffffffff812078f0 t ns_capable.cold
ffffffff812078fe t capable.cold
ffffffff81368190 T __pfx_ns_capable
ffffffff813681a0 T ns_capable
ffffffff81368200 T __pfx_capable
ffffffff81368210 T capable
ffffffff81368280 T ns_capable_noaudit
ffffffff816b8080 t __do_sys_vhangup
ffffffff816b8080 T __ia32_sys_vhangup
ffffffff816b8080 T __x64_sys_vhangup
ffffffff816c0000 t same
ffffffff816c0010 T same
ffffffff816c0020 t same
ffffffff817324a0 t do_epoll_pwait.part.0
ffffffff81732500 t check_bdev.isra.0.cold
ffffffff81732510 t promoted.llvm.1234567
ffffffff81a82a80 T cap_capable
ffffffff81a82a80 t cap_alias
ffffffff81a82b40 t cap_inh_is_capped
ffffffff81a82c00 D cap_data
ffffffff8220bb08 T _etext
ffffffff83783000 T _sinittext
ffffffff83783000 t init_first
ffffffff837f8910 T _einittext
ffffffff837f8920 t 	[nameless]
short
ffffffffc0201000 t ovl_permission	[overlay]
ffffffffc0203000 t bpf_prog_6deef7357e7b4530_hook	[bpf]
`

func parse(t *testing.T, text string) *Symbols {
	t.Helper()
	symbols, err := ParseSymbols(strings.NewReader(text))
	if err != nil {
		t.Fatal(err)
	}
	return symbols
}

func TestLookup(t *testing.T) {
	symbols := parse(t, kallsyms)
	for _, test := range []struct {
		about   string
		address uint64
		name    string
		offset  uint64
	}{
		{"before all", 0xffffffff80ffffff, "", 0},
		{"a function is preferred to labels of the linker", 0xffffffff81000004, "srso_alias_untrain_ret", 4},
		{"first byte", 0xffffffff813681a0, "ns_capable", 0},
		{"last byte, in the next function's padding", 0xffffffff8136820f, "ns_capable", 0x6f},
		{"next function", 0xffffffff81368210, "capable", 0},
		{"part moved elsewhere", 0xffffffff812078f4, "ns_capable", 4},
		{"a function is preferred to entry points of system calls", 0xffffffff816b8085, "__do_sys_vhangup", 5},
		{"part.0", 0xffffffff817324a0, "do_epoll_pwait", 0},
		{"isra.0.cold", 0xffffffff81732501, "check_bdev", 1},
		{"llvm", 0xffffffff81732511, "promoted", 1},
		{"a global name is preferred", 0xffffffff81a82a81, "cap_capable", 1},
		{"data is not a function", 0xffffffff81a82c10, "cap_inh_is_capped", 0xd0},
		{"after the kernel's code", 0xffffffff8220bb10, "", 0},
		{"after its initial code", 0xffffffff837f8930, "", 0},
		{"in a module", 0xffffffffc0201008, "ovl_permission", 8},
		{"in a BPF program", 0xffffffffc0203010, "bpf_prog_6deef7357e7b4530_hook", 0x10},
		{"far after the last function", 0xffffffffc1000000, "", 0},
	} {
		name, offset, ok := symbols.Lookup(test.address)
		if name != test.name || offset != test.offset || ok != (test.name != "") {
			t.Errorf("%s: %q+%#x %v, want %q+%#x", test.about, name, offset, ok, test.name, test.offset)
		}
	}
}

func TestAliasesDoNotDependOnOrder(t *testing.T) {
	const (
		one = "ffffffff81000000 T zeta\nffffffff81000000 T alpha\nffffffff81000000 W weak\n"
		two = "ffffffff81000000 W weak\nffffffff81000000 T alpha\nffffffff81000000 T zeta\n"
	)
	for _, text := range []string{one, two} {
		if name, _, _ := parse(t, text).Lookup(0xffffffff81000000); name != "alpha" {
			t.Errorf("%q, want alpha", name)
		}
	}
}

func TestRange(t *testing.T) {
	symbols := parse(t, kallsyms)
	for _, test := range []struct {
		name       string
		start, end uint64
	}{
		{"capable", 0xffffffff81368210, 0xffffffff81368280},
		{"cap_capable", 0xffffffff81a82a80, 0xffffffff81a82b40},                                      // not up to its alias
		{"cap_alias", 0xffffffff81a82a80, 0xffffffff81a82b40},                                        // the same
		{"same", 0xffffffff816c0010, 0xffffffff816c0020},                                             // the global one
		{"capable.cold", 0xffffffff812078fe, 0xffffffff812078fe + maxFunctionSize},                   // a gap follows
		{"bpf_prog_6deef7357e7b4530_hook", 0xffffffffc0203000, 0xffffffffc0203000 + maxFunctionSize}, // the last one
		{"absent", 0, 0},
		{"__pfx_capable", 0, 0},
	} {
		start, end, ok := symbols.Range(test.name)
		if start != test.start || end != test.end || ok != (test.start != 0) {
			t.Errorf("%s: %#x-%#x %v, want %#x-%#x", test.name, start, end, ok, test.start, test.end)
		}
	}
}

func TestFrames(t *testing.T) {
	symbols := parse(t, kallsyms)
	got := symbols.Frames([]uint64{
		0xffffffff81368280, // the call was the last instruction of capable
		0xffffffffc0201010,
		0xffffffffc1000000, // loaded after the symbols were read
		0,
		0xffffffff81368280,
	})
	want := []string{"capable", "ovl_permission", UnknownFunction}
	if !slices.Equal(got, want) {
		t.Errorf("%q, want %q", got, want)
	}
}

func TestParseModulesIgnoresUseCounts(t *testing.T) {
	const loaded = "packet_diag 16384 0 - Live 0xffffffffc06d5000\n" +
		"overlay 163840 3 - Live 0xffffffffc0680000 (O)\n"
	want := []string{"packet_diag 0xffffffffc06d5000", "overlay 0xffffffffc0680000"}
	for _, text := range []string{loaded, strings.Replace(loaded, " 3 - ", " 4 packet_diag, ", 1)} {
		if got := parseModules(text); !slices.Equal(got, want) {
			t.Errorf("%q, want %q", got, want)
		}
	}
}

func TestSymbolsAreStaleIfTheModulesDiffer(t *testing.T) {
	symbols := thisKernel(t)
	if symbols.Stale() {
		t.Error("stale immediately after reading")
	}
	symbols.modules = append(symbols.modules, "another 0xffffffffc0000000")
	if !symbols.Stale() {
		t.Error("not stale with another module")
	}
}

func TestParseSymbolsRejectsInvalidInput(t *testing.T) {
	const hidden = "0000000000000000 T _text\n0000000000000000 T cap_capable\n"
	if _, err := ParseSymbols(strings.NewReader(hidden)); !errors.Is(err, ErrSymbolsHidden) {
		t.Errorf("hidden addresses: %v", err)
	}
	for _, text := range []string{"", "xyz T cap_capable\n", "ffffffff810000000 T cap_capable\n"} {
		if _, err := ParseSymbols(strings.NewReader(text)); err == nil || errors.Is(err, ErrSymbolsHidden) {
			t.Errorf("%q: %v", text, err)
		}
	}
}

func TestSymbolsOfThisKernel(t *testing.T) {
	symbols := thisKernel(t)
	start, end, ok := symbols.Range("cap_capable")
	if !ok || end-start < 16 || end-start > 4096 {
		t.Fatalf("cap_capable: %#x-%#x %v", start, end, ok)
	}
	for _, address := range []uint64{start, start + (end-start)/2, end - 1} {
		if name, _, _ := symbols.Lookup(address); name != "cap_capable" {
			t.Errorf("%#x: %q, want cap_capable", address, name)
		}
	}
}

func thisKernel(t testing.TB) *Symbols {
	t.Helper()
	symbols, err := LoadSymbols()
	if errors.Is(err, ErrSymbolsHidden) {
		testutil.NeedRoot(t)
	}
	if err != nil {
		t.Fatal(err)
	}
	return symbols
}

func BenchmarkLoadSymbols(b *testing.B) {
	b.ReportAllocs()
	for b.Loop() {
		thisKernel(b)
	}
}

func BenchmarkLookup(b *testing.B) {
	symbols := thisKernel(b)
	start, _, _ := symbols.Range("cap_capable")
	b.ReportAllocs()
	for b.Loop() {
		symbols.Lookup(start + 4)
	}
}

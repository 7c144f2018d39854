package monitor

import (
	"bytes"
	"testing"

	"github.com/cilium/ebpf/btf"
)

var (
	u8  = &btf.Int{Name: "u8", Size: 1}
	u32 = &btf.Int{Name: "u32", Size: 4}
)

func member(name string, of btf.Type, at uint32) btf.Member {
	return btf.Member{Name: name, Type: of, Offset: btf.Bits(8 * at)}
}

func array(of btf.Type, n uint32) btf.Type { return &btf.Array{Index: u32, Type: of, Nelems: n} }

func TestConversionIsByName(t *testing.T) {
	inner := &btf.Struct{Name: "inner", Size: 4, Members: []btf.Member{member("a", u8, 0), member("b", u8, 1), member("pad", array(u8, 2), 2)}}
	innerNow := &btf.Struct{Name: "inner", Size: 4, Members: []btf.Member{member("b", u32, 0)}}
	innerMore := &btf.Struct{Name: "inner", Size: 8, Members: []btf.Member{member("b", u32, 0), member("a", u8, 4)}}
	old := &btf.Struct{Name: "record", Size: 16, Members: []btf.Member{
		member("count", u32, 0), member("name", array(u8, 3), 4), member("inner", array(inner, 2), 8),
	}}
	now := &btf.Struct{Name: "record", Size: 40, Members: []btf.Member{
		member("fresh", u64, 0), member("inner", array(innerMore, 2), 8), member("count", u64, 24), member("name", array(u8, 5), 32),
	}}
	translator, err := newLayoutConverter(old, now)
	if err != nil {
		t.Fatal(err)
	}
	got := translator.convert([]byte{1, 2, 0, 0, 'a', 'b', 'c', 9, 10, 11, 9, 9, 12, 13, 9, 9})
	want := []byte{
		0, 0, 0, 0, 0, 0, 0, 0,
		11, 0, 0, 0, 10, 0, 0, 0, 13, 0, 0, 0, 12, 0, 0, 0,
		1, 2, 0, 0, 0, 0, 0, 0,
		'a', 'b', 'c', 0, 0, 0, 0, 0,
	}
	if !bytes.Equal(got, want) {
		t.Errorf("got  %v\nwant %v", got, want)
	}
	for name, other := range map[string]btf.Type{
		"a field is gone":    &btf.Struct{Name: "record", Size: 8, Members: []btf.Member{member("name", array(u8, 3), 0), member("inner", array(innerMore, 2), 4)}},
		"a field is smaller": &btf.Struct{Name: "record", Size: 8, Members: []btf.Member{member("count", u8, 0), member("name", array(u8, 3), 0), member("inner", array(innerMore, 2), 4)}},
		"an array is":        &btf.Struct{Name: "record", Size: 8, Members: []btf.Member{member("count", u32, 0), member("name", array(u8, 2), 4), member("inner", array(innerMore, 2), 8)}},
		"one within is":      &btf.Struct{Name: "record", Size: 8, Members: []btf.Member{member("count", u32, 0), member("name", array(u8, 3), 4), member("inner", array(innerNow, 2), 8)}},
	} {
		if _, err := newLayoutConverter(old, other); err == nil {
			t.Errorf("%s: no error", name)
		}
	}
}

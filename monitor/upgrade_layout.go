package monitor

import (
	"fmt"
	"strconv"

	"github.com/cilium/ebpf/btf"
)

// translator turns values of one layout of a C type into those of another, by the names of
// the fields. Fields that the older one lacks are zero.
type layoutConverter struct {
	size   uint32
	copies []fieldCopy
}

// move is of one field, or one element of an array.
type fieldCopy struct{ from, to, size uint32 }

// place is where a field lies.
type fieldPosition struct{ at, size uint32 }

// newTranslator fails if the newer type has no field for one of the older one, or a smaller
// one: something would be lost. A field whose meaning changes has to change its name.
func newLayoutConverter(older, newer btf.Type) (*layoutConverter, error) {
	from, to := make(map[string]fieldPosition), make(map[string]fieldPosition)
	if err := findFields(older, "", 0, from); err != nil {
		return nil, err
	}
	if err := findFields(newer, "", 0, to); err != nil {
		return nil, err
	}
	size, err := btf.Sizeof(newer)
	if err != nil {
		return nil, err
	}
	t := &layoutConverter{size: uint32(size)}
	for name, old := range from {
		now, ok := to[name]
		if !ok || now.size < old.size {
			return nil, fmt.Errorf("%s has no room for %s", newer.TypeName(), name)
		}
		t.copies = append(t.copies, fieldCopy{old.at, now.at, old.size})
	}
	return t, nil
}

// translate returns a value in the newer layout. Integers that have grown are those of a
// little-endian machine, as all are that capmon is built for.
func (t *layoutConverter) convert(value []byte) []byte {
	out := make([]byte, t.size)
	for _, move := range t.copies {
		copy(out[move.to:move.to+move.size], value[move.from:move.from+move.size])
	}
	return out
}

// layOut notes where the fields of a type lie that are no structures themselves.
func findFields(of btf.Type, name string, at uint32, places map[string]fieldPosition) error {
	switch of := btf.UnderlyingType(of).(type) {
	case *btf.Int:
		places[name] = fieldPosition{at, of.Size}
	case *btf.Enum:
		places[name] = fieldPosition{at, of.Size}
	case *btf.Array:
		size, err := btf.Sizeof(of.Type)
		if err != nil {
			return err
		}
		for i := range of.Nelems {
			if err := findFields(of.Type, name+"["+strconv.FormatUint(uint64(i), 10)+"]", at+i*uint32(size), places); err != nil {
				return err
			}
		}
	case *btf.Struct:
		for _, member := range of.Members {
			if isPadding(member.Name) {
				continue
			}
			if member.BitfieldSize > 0 {
				return fmt.Errorf("%s.%s is a bit field", of.Name, member.Name)
			}
			if err := findFields(member.Type, name+"."+member.Name, at+member.Offset.Bytes(), places); err != nil {
				return err
			}
		}
	default:
		return fmt.Errorf("%s is of an unknown kind: %v", name, of)
	}
	return nil
}

// isPad tells the fields that only fill.
func isPadding(name string) bool { return name == "pad" }

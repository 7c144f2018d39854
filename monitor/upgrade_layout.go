package monitor

import (
	"fmt"
	"strconv"

	"github.com/cilium/ebpf/btf"
)

// layoutConverter converts values of a C type from an older to a newer layout, by the names of the fields. Fields that
// the older type lacks become zero.
type layoutConverter struct {
	size   uint32
	copies []fieldCopy
}

// fieldCopy copies one field, or one element of an array. All values are in bytes.
type fieldCopy struct{ from, to, size uint32 }

// fieldPosition is the offset and size of a field in bytes.
type fieldPosition struct{ at, size uint32 }

// newLayoutConverter returns a converter. Data would be lost if the newer type lacked a field of the older type, or had
// a smaller one: then it returns an error. If the meaning of a field changes, its name has to change (bpf/types.h).
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
			return nil, fmt.Errorf("the newer type %s has no field, or a smaller one, for %s", newer.TypeName(), name)
		}
		t.copies = append(t.copies, fieldCopy{old.at, now.at, old.size})
	}
	return t, nil
}

// convert returns a value in the newer layout. A conversion to a larger integer is correct only on little-endian
// machines; capmon is built for no others.
func (t *layoutConverter) convert(value []byte) []byte {
	out := make([]byte, t.size)
	for _, move := range t.copies {
		copy(out[move.to:move.to+move.size], value[move.from:move.from+move.size])
	}
	return out
}

// findFields adds the positions of all fields of a type that are not structures.
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
		return fmt.Errorf("field %s has an unsupported type: %v", name, of)
	}
	return nil
}

// isPadding reports whether a field is only padding.
func isPadding(name string) bool { return name == "pad" }

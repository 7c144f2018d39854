package page

import (
	"encoding/json"
	"maps"
	"slices"
)

// document is the JSON form of a page. In Details, the index of a text in Strings replaces the text, because most texts
// occur in many containers. Details has no other numbers.
type document struct {
	Page
	Strings []string `json:"strings"`
	// Details has the details of each container.
	Details []any `json:"details"`
}

func encode(p Page) (document, error) {
	// Lists are never null in JSON.
	p.Containers, p.Advice, p.Notes = append([]Container{}, p.Containers...), append([]Advice{}, p.Advice...), append([]string{}, p.Notes...)
	d := document{Page: p, Strings: []string{}, Details: []any{}}
	table := stringTable{index: make(map[string]int)}
	for _, c := range p.Containers {
		details, err := table.intern(c.Details)
		if err != nil {
			return d, err
		}
		d.Details = append(d.Details, details)
	}
	d.Strings = append(d.Strings, table.strings...)
	return d, nil
}

// stringTable collects texts, each of them once.
type stringTable struct {
	strings []string
	index   map[string]int
}

// intern returns the JSON form of blocks, with an index in place of each text.
func (t *stringTable) intern(blocks []Block) (any, error) {
	text, err := json.Marshal(append([]Block{}, blocks...))
	if err != nil {
		return nil, err
	}
	var value any
	if err := json.Unmarshal(text, &value); err != nil {
		return nil, err
	}
	return t.replace(value), nil
}

// replace replaces each text in a value by its index.
func (t *stringTable) replace(value any) any {
	switch v := value.(type) {
	case string:
		i, known := t.index[v]
		if !known {
			i = len(t.strings)
			t.index[v] = i
			t.strings = append(t.strings, v)
		}
		return i
	case []any:
		for i := range v {
			v[i] = t.replace(v[i])
		}
	case map[string]any:
		for _, key := range slices.Sorted(maps.Keys(v)) {
			v[key] = t.replace(v[key])
		}
	}
	return value
}

// MarshalJSON returns the text, or a pair of number and text if there is a number.
func (v Value) MarshalJSON() ([]byte, error) {
	if v.Number == 0 {
		return json.Marshal(v.Text)
	}
	return json.Marshal([]any{v.Number, v.Text})
}

// MarshalJSON writes the position of a container in place of the container's own row.
func (v View) MarshalJSON() ([]byte, error) {
	rows := make([]any, 0, len(v.Rows))
	for _, row := range v.Rows {
		if row.own {
			rows = append(rows, row.Members[0])
		} else {
			rows = append(rows, row)
		}
	}
	return json.Marshal(map[string]any{"name": v.Name, "label": v.Label, "rows": rows})
}

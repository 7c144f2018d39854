package page

import (
	"html/template"
	"slices"
	"strings"
)

// State is what a cell of the matrix shows about a capability of a container, for example that the container used it.
type State struct {
	// Key is a lower-case letter. The style sheet has a class for each key: s and the letter.
	Key string `json:"key"`
	// Name is the text of the cell. The style sheet shows a sign and a color in its place.
	Name    string `json:"name"`
	Meaning string `json:"meaning"`
}

// The keys of the states.
const (
	used       = 'u'
	proved     = 'p'
	soft       = 's'
	unsure     = 'n'
	spared     = 'r'
	notSeen    = 'q'
	unobserved = 'o'
	unused     = 'x'
	waived     = 'w'
	denied     = 'd'

	isNew      = 'a'
	newUnsure  = 'b'
	changed    = 'c'
	gone       = 'g'
	goneUnsure = 'h'
	same       = 'e'
	grantOnly  = 'i'

	none = ' '
)

// states are all states, the strongest first. If the containers of a row have different states, the row has the
// strongest: a row needs what one of its containers needs.
var states = []State{
	{string(isNew), "new", "needed or denied now, and not used before"},
	{string(newUnsure), "perhaps new", "not seen before, but the earlier observation is not sufficient to say that it is new"},
	{string(changed), "changed", "needed in both profiles, with other patterns of use"},
	{string(goneUnsure), "perhaps gone", "not seen in the later profile, but the observation is not sufficient to say that it is gone"},
	{string(gone), "gone", "needed or denied before, and no longer used"},
	{string(same), "same", "needed in both profiles, with the same patterns of use"},
	{string(used), "used", "needed: a denial would be an error"},
	{string(proved), "proved", "capmon verify proved that the container needs it"},
	{string(soft), "soft", "needed, but a denial would only change a result"},
	{string(unsure), "unsure", "on the list, but may not be needed"},
	{string(spared), "spared", "used, but not needed: other capabilities on the list are sufficient"},
	{string(notSeen), "not seen", "granted, and capmon saw no use, but the observation is not sufficient to say that it is unused"},
	{string(unobserved), "not observed", "granted, and capmon does not know the uses"},
	{string(unused), "unused", "granted, and either not used or proved to be unneeded: remove it"},
	{string(waived), "waived", "granted, and an operator accepted that it may be unused"},
	{string(denied), "denied", "not granted: the container tried to use it, and the kernel denied it"},
	{string(grantOnly), "granted", "granted in one of the profiles, without a change of what is needed"},
}

// deniedToo follows the name of a state if the key is in upper case.
const deniedToo = ", also denied"

// rank returns the position of a key in states; len(states) for none.
func rank(key byte) int {
	i := slices.IndexFunc(states, func(s State) bool { return s.Key == string(lower(key)) })
	if i < 0 {
		return len(states)
	}
	return i
}

// stateName returns the text of a cell; "" for none.
func stateName(key byte) string {
	i := rank(key)
	switch {
	case i == len(states):
		return ""
	case isUpper(key):
		return states[i].Name + deniedToo
	}
	return states[i].Name
}

func isUpper(key byte) bool { return 'A' <= key && key <= 'Z' }

// lower returns a key without the mark that the kernel also denied a check.
func lower(key byte) byte {
	if isUpper(key) {
		return key - 'A' + 'a'
	}
	return key
}

// occurring returns the states that the cells of the containers have.
func occurring(containers []Container) []State {
	var cells strings.Builder
	for _, c := range containers {
		cells.WriteString(c.Cells)
	}
	all := strings.ToLower(cells.String())
	return slices.DeleteFunc(slices.Clone(states), func(s State) bool { return !strings.Contains(all, s.Key) })
}

// alsoDenied marks a cell: the kernel also denied a check of the capability.
func alsoDenied(key byte) byte {
	if key == none || key == denied {
		return denied
	}
	return strings.ToUpper(string(key))[0]
}

// joinCells returns the cells of a row with several containers.
func joinCells(containers []Container, members []int) string {
	cells := []byte(containers[members[0]].Cells)
	for _, member := range members[1:] {
		for i := range cells {
			cells[i] = joinCell(cells[i], containers[member].Cells[i])
		}
	}
	return string(cells)
}

func joinCell(one, other byte) byte {
	isDenied := func(key byte) bool { return key == denied || isUpper(key) }
	first := one
	if rank(other) < rank(one) {
		first = other
	}
	if isDenied(one) || isDenied(other) {
		return alsoDenied(first)
	}
	return first
}

// cellsHTML returns the cells of a row. It contains only names of states.
func cellsHTML(cells string) template.HTML {
	var text strings.Builder
	for _, key := range []byte(cells) {
		name := stateName(key)
		if name == "" {
			text.WriteString("<td>")
			continue
		}
		class := "s" + string(lower(key))
		if isUpper(key) {
			class += " also"
		}
		text.WriteString(`<td class="` + class + `">` + name)
	}
	return template.HTML(text.String())
}

package alternatives

import "strings"

// split takes a system call apart that kernel.Call has written. An argument that a caller chose
// freely is quoted there if it is no plain word, and is of no call that is looked at here.
func split(call string) (name string, arguments []string) {
	name, rest, ok := strings.Cut(call, "(")
	if !ok {
		return name, nil
	}
	return name, strings.Split(strings.TrimSuffix(rest, ")"), ", ")
}

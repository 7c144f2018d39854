package main

import (
	"slices"
	"testing"

	"github.com/capmon/capmon/capability"
)

func TestMinimalSets(t *testing.T) {
	const a, b, c, d = 1 << capability.Chown, 1 << capability.Kill, 1 << capability.Mknod, 1 << capability.Setuid
	for name, minimal := range map[string][]capability.Set{
		"nothing is needed":         {0},
		"one set":                   {a | b},
		"two alternatives":          {a | b, a | c},
		"alternatives of two sizes": {a, b | c | d},
		"overlapping alternatives":  {a | b, a | c, b | c | d},
		"nothing passes":            nil,
	} {
		t.Run(name, func(t *testing.T) {
			trials := 0
			found, err := minimalSets(a|b|c|d, func(set capability.Set) (bool, error) {
				trials++
				return slices.ContainsFunc(minimal, func(m capability.Set) bool { return m.Minus(set).Empty() }), nil
			})
			if err != nil {
				t.Fatal(err)
			}
			for _, m := range minimal {
				if !slices.Contains(found, m) {
					t.Errorf("did not find %v", m)
				}
			}
			if len(found) != len(minimal) {
				t.Errorf("found %v, wanted %v", found, minimal)
			}
			if trials > 16 {
				t.Errorf("tried %d sets of 16", trials)
			}
		})
	}
}

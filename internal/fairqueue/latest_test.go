package fairqueue_test

import (
	"strings"
	"testing"

	"github.com/capmon/capmon/internal/fairqueue"
)

func TestLatest(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		values string // each letter is a value of the source with this name
		n      int
		want   string
	}{
		{"", 3, ""},
		{"aab", 3, "aab"},
		{"aaaa", 3, "aaa"},
		{"baaaa", 3, "baa"},
		{"abaaaab", 4, "baab"},
		{"aabb", 3, "abb"},
		{"bbaa", 3, "baa"},
		{"abcd", 3, "bcd"},
		{"abcdaaaa", 5, "bcdaa"},
		{"ab", 0, ""},
	} {
		got := fairqueue.Latest(strings.Split(test.values, ""), test.n, func(s string) string { return s })
		if joined := strings.Join(got, ""); joined != test.want {
			t.Errorf("the latest %d of %s are %s, wanted %s", test.n, test.values, joined, test.want)
		}
	}
}

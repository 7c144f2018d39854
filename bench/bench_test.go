package main

import (
	"testing"
	"time"
)

func TestSpread(t *testing.T) {
	for _, test := range []struct {
		values []float64
		want   spread
	}{
		{[]float64{5}, spread{5, 5, 5}},
		{[]float64{9, 1, 2}, spread{2, 1, 9}},
		{[]float64{4, 1, 2, 8}, spread{3, 1, 8}},
	} {
		if got := spreadOf(test.values); got != test.want {
			t.Errorf("%v: got %v, wanted %v", test.values, got, test.want)
		}
	}
}

// What is added is told against the load alone, for each check and against bpftrace.
func TestRow(t *testing.T) {
	l := load{"mmap", true, 1}
	m := &measurement{
		watchers: []watcher{nobody, bpftrace, capmon("capmon", "")},
		samples: map[load]map[string][]sample{l: {
			nobody.name:   {{time.Microsecond, 0}},
			bpftrace.name: {{1200 * time.Nanosecond, 0}},
			"capmon":      {{1100 * time.Nanosecond, 2}},
		}},
	}
	want := []any{"mmap", "2.0", "1000 (1000–1000)", "200 (200–200)", "100 (100–100)", "50", "0.50", "+10.0"}
	got := row(l, m)
	for i := range max(len(got), len(want)) {
		if i >= len(got) || i >= len(want) || got[i] != want[i] {
			t.Fatalf("got %q, wanted %q", got, want)
		}
	}
}

func TestLostChecksAreNoResult(t *testing.T) {
	if n, err := checksOf([]byte(`{"containers": [{"name": "a", "checks": 7, "incomplete": []}]}`), "a"); n != 7 || err != nil {
		t.Error(n, err)
	}
	for _, report := range []string{
		`{"containers": [{"name": "b", "checks": 7, "incomplete": []}]}`,
		`{"containers": [{"name": "a", "checks": 7, "incomplete": ["lost"]}]}`,
	} {
		if n, err := checksOf([]byte(report), "a"); err == nil {
			t.Errorf("%s: %d checks", report, n)
		}
	}
}

package capability

import (
	"encoding/json"
	"math/rand/v2"
	"slices"
	"testing"
)

func TestSetOperations(t *testing.T) {
	s := Of(SysAdmin, NetRaw, 63)
	if got, want := s.String(), "63,NET_RAW,SYS_ADMIN"; got != want {
		t.Errorf("got %s, want %s", got, want)
	}
	if got, want := s.Sorted(), []Capability{63, NetRaw, SysAdmin}; !slices.Equal(got, want) {
		t.Errorf("got %v, want %v", got, want)
	}
	for name, holds := range map[string]bool{
		"has":               s.Has(NetRaw) && s.Has(63) && !s.Has(Chown) && !s.Has(64) && !s.Has(255),
		"with":              s.With(Chown) == Of(Chown, NetRaw, SysAdmin, 63),
		"with itself":       s.With(NetRaw) == s,
		"with out of range": s.With(64) == s && s.With(255) == s,
		"without":           s.Without(NetRaw).Without(64) == Of(SysAdmin, 63),
		"union":             s.Union(Of(Chown)) == s.With(Chown),
		"minus":             s.Minus(Of(NetRaw, Chown)) == s.Without(NetRaw),
		"intersect":         s.Intersect(Of(NetRaw, Chown)) == Of(NetRaw),
		"len":               s.Len() == 3 && Set(0).Len() == 0,
		"empty":             Set(0).Empty() && !s.Empty() && Set(0).String() == "",
		"known":             Known(CheckpointRestore) == 1<<41-1 && Known(0) == Of(Chown),
		"known, all bits":   Known(63) == ^Set(0) && Known(255) == ^Set(0),
	} {
		if !holds {
			t.Error(name)
		}
	}
}

func TestSetsAreUnchangedByJSON(t *testing.T) {
	random := rand.New(rand.NewPCG(1, 2))
	for range 1000 {
		want := Set(random.Uint64())
		data, err := json.Marshal(want)
		if err != nil {
			t.Fatal(err)
		}
		var got Set
		if err := json.Unmarshal(data, &got); err != nil || got != want {
			t.Fatalf("%s became %v, %v", data, got, err)
		}
	}
}

func TestSetJSON(t *testing.T) {
	for set, want := range map[Set]string{
		0:                      `[]`,
		Of(Setuid, NetRaw, 50): `["50","NET_RAW","SETUID"]`,
	} {
		if got, err := json.Marshal(set); err != nil || string(got) != want {
			t.Errorf("got %s, %v; want %s", got, err, want)
		}
	}
	var set Set
	for _, bad := range []string{`["NOPE"]`, `[13]`, `"NET_RAW"`, `[64]`, `["64"]`, `{}`} {
		if err := json.Unmarshal([]byte(bad), &set); err == nil {
			t.Errorf("%s was read as %v, want an error", bad, set)
		}
	}
	if err := json.Unmarshal([]byte(`["cap_chown","13","NET_RAW"]`), &set); err != nil || set != Of(Chown, NetRaw) {
		t.Errorf("got %v, %v", set, err)
	}
}

package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/jedib0t/go-pretty/v6/table"
)

// kinds is the result for a container that makes very many kinds of check: how many checks capmon reports by kind, and
// how many it adds up because the container has a quota.
type kinds struct {
	room, byKind, added, lost uint64
	memory, most, maps        float64 // as in reading
	end                       float64
}

// rooms are sizes of the map of checks: the default and a small one.
var rooms = []uint64{131072, 16384}

// manyKinds measures a container that makes many kinds of check, with each of the rooms.
func (s *scale) manyKinds(g *generator) (all []kinds, err error) {
	for _, room := range rooms {
		k := kinds{room: room}
		if err := k.measure(g, s.program, s.kinds); err != nil {
			return nil, fmt.Errorf("%d kinds of check with room for %d: %w", s.kinds, room, err)
		}
		all = append(all, k)
	}
	return all, nil
}

func (k *kinds) measure(g *generator, program string, made uint64) error {
	capmon, err := startRecording(program, "--max-checks", strconv.FormatUint(k.room, 10))
	if err != nil {
		return err
	}
	p := process(capmon.cmd.Process.Pid)
	// This first run adds the other checks of the load to the map before it is full.
	_, err = g.make("kinds", 1, 1)
	_, madeErr := g.make("kinds", int(made), 1)
	now, _, residentErr := p.resident()
	maps, mapsErr := p.maps()
	k.memory, k.maps = mebibytes(now), mebibytes(maps)
	begin := time.Now()
	report, endErr := capmon.end()
	k.end = milliseconds(time.Since(begin))
	k.most = float64(capmon.mostMemory()) / (1 << 20)
	if err := errors.Join(err, madeErr, residentErr, mapsErr, endErr); err != nil {
		return err
	}
	return k.count(report, g.name, made+1)
}

// count reads the recorded and lost checks from a report. It fails if their sum differs from the made checks, or if
// checks are lost and the report does not say that it is incomplete. The kinds differ in the argument of setfsuid,
// which added-up checks lack.
func (k *kinds) count(report []byte, name string, made uint64) error {
	var parsed struct {
		Containers []struct {
			Name       string
			Lost       uint64
			Incomplete []string
			Uses       []struct {
				Capability, Call string
				Others           bool
				Count            uint64
			}
		}
	}
	if err := json.Unmarshal(report, &parsed); err != nil {
		return fmt.Errorf("reading the report: %w", err)
	}
	for _, c := range parsed.Containers {
		if c.Name != name {
			continue
		}
		k.lost = c.Lost
		for _, use := range c.Uses {
			switch {
			case use.Capability == "SETUID" && use.Others:
				k.added += use.Count
			case strings.HasPrefix(use.Call, "setfsuid("):
				k.byKind += use.Count
			}
		}
		switch {
		case k.byKind+k.added+k.lost != made:
			return fmt.Errorf("%d checks were made, but %d are reported by kind, %d added up, %d lost", made, k.byKind, k.added, k.lost)
		case k.lost > 0 && len(c.Incomplete) == 0:
			return fmt.Errorf("%d checks were lost, but the report does not say that it is incomplete", k.lost)
		}
		return nil
	}
	return fmt.Errorf("%s is not in the report", name)
}

func kindsTable(all []kinds) table.Writer {
	t := table.NewWriter()
	t.AppendHeader(table.Row{"room for kinds", "reported by kind", "added up", "lost", "report, ms", "resident, MiB", "at most", "kernel's maps, MiB"})
	for _, k := range all {
		t.AppendRow(table.Row{k.room, k.byKind, k.added, k.lost, fmt.Sprintf("%.0f", k.end), fmt.Sprintf("%.1f", k.memory), fmt.Sprintf("%.1f", k.most), fmt.Sprintf("%.1f", k.maps)})
	}
	return t
}

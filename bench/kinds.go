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

// kinds is what came of a container that makes very many kinds of check: how many checks are
// reported by kind, and how many added up, since the container has a quota.
type kinds struct {
	room, apart, added, lost uint64
	memory, most, maps       float64 // as in reading
	end                      float64
}

// rooms for kinds of check: the default one and a small one.
var rooms = []uint64{131072, 16384}

// manyKinds has them made by one container, in each of the rooms.
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
	// What the load itself asks for has to be there before the room is full.
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

// count reads from a report how many were recorded and how many lost, and fails if these
// are not all that were made, or if it does not say that it is incomplete. The kinds differ in
// the arguments of setfsuid, which those that were added up do not have any more.
func (k *kinds) count(report []byte, name string, made uint64) error {
	var said struct {
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
	if err := json.Unmarshal(report, &said); err != nil {
		return fmt.Errorf("reading the report: %w", err)
	}
	for _, c := range said.Containers {
		if c.Name != name {
			continue
		}
		k.lost = c.Lost
		for _, use := range c.Uses {
			switch {
			case use.Capability == "SETUID" && use.Others:
				k.added += use.Count
			case strings.HasPrefix(use.Call, "setfsuid("):
				k.apart += use.Count
			}
		}
		switch {
		case k.apart+k.added+k.lost != made:
			return fmt.Errorf("%d were made, %d recorded by kind, %d added up, %d told as lost", made, k.apart, k.added, k.lost)
		case k.lost > 0 && len(c.Incomplete) == 0:
			return fmt.Errorf("%d were lost, and the report does not say that it is incomplete", k.lost)
		}
		return nil
	}
	return fmt.Errorf("%s is not in the report", name)
}

func kindsTable(all []kinds) table.Writer {
	t := table.NewWriter()
	t.AppendHeader(table.Row{"room for kinds", "told apart", "added up", "lost", "report, ms", "resident, MiB", "at most", "kernel's maps, MiB"})
	for _, k := range all {
		t.AppendRow(table.Row{k.room, k.apart, k.added, k.lost, fmt.Sprintf("%.0f", k.end), fmt.Sprintf("%.1f", k.memory), fmt.Sprintf("%.1f", k.most), fmt.Sprintf("%.1f", k.maps)})
	}
	return t
}

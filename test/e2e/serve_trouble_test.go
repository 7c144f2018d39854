package e2e

import (
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/capmon/capmon/internal/daemon"
	"github.com/capmon/capmon/internal/testutil"
	"github.com/capmon/capmon/internal/testutil/capmontest"
)

// Containers are removed while capmon does not run, and the engine no longer knows them. The database has what they
// did. It has their names if serve knew them before. Otherwise serve reports that they are unknown.
func TestServeIdentifiesRemovedContainersOrReportsThem(t *testing.T) {
	t.Parallel()
	d := capmontest.StartDaemon(t)
	s := serveAt(t, d.Host)
	p := capmontest.NewPerformer(t)
	early := strings.TrimSpace(d.Docker(slices.Concat([]string{"run", "-d", "--rm", "--name=known-before", "--cap-add=SYS_NICE", p.Volume(), "bb"}, capmontest.PerformerCommand)...))
	s.await("known-before")
	p.Do("probe set-mempolicy; probe repeat 2 setuid0")
	s.Saved()
	before := capmontest.KeptIn(t, binary, s.Database)[early]
	s.Kill()
	p.Do("probe repeat 3 setuid0")
	if err := os.WriteFile(p.Orders(), []byte("exit\n"), 0); err != nil {
		t.Fatal(err)
	}
	eventually(t, "it is removed", func() bool { return execute(t, "docker", "-H", d.Host, "inspect", early).code != 0 })
	id := strings.TrimSpace(d.Docker("create", "--rm", "--name=never-known", capmontest.OwnFileSystem, "bb", "probe", "repeat", "3", "rawsock"))
	d.Docker("start", "--attach", id)
	eventually(t, "it is removed", func() bool { return execute(t, "docker", "-H", d.Host, "inspect", id).code != 0 })
	d.Stop()
	d.Start()
	s.Start()
	s.Saved()
	all := capmontest.KeptIn(t, binary, s.Database)
	known := all[early]
	if known.Counts()["SETUID"] != 5 || known.Name != "known-before" || known.Image != before.Image || known.EngineError != "" {
		t.Errorf("record of the container that was known before: %+v", known)
	}
	same(t, "implicit", known.Implicit, before.Implicit)
	same(t, "implicit before", before.Implicit, caps("SYS_NICE"))
	same(t, "not observed all the time", known.Unwatched, caps("SYS_NICE"))
	got, ok := all[id]
	if !ok || got.Counts()["NET_RAW"] != 3 || got.Name != "" || got.EngineError == "" || len(got.Cautions) == 0 {
		t.Errorf("its record: %+v", got)
	}
	if unknown := s.Header("/api/v1/flags?image=bb", "X-Capmon-Unknown"); !strings.Contains(unknown, "which needed ") || !strings.Contains(unknown, "NET_RAW") {
		t.Errorf("the header does not list it as unknown: %q", unknown)
	}
	if unknown := s.Header("/api/v1/report", "X-Capmon-Unknown"); unknown != "" {
		t.Errorf("the header lists containers although all are selected: %q", unknown)
	}
}

// The database cannot be written, capmon is killed and the engine no longer knows the containers. serve still knows the
// containers' names and which alerts it has raised.
func TestServeKeepsDataThatItCannotSave(t *testing.T) {
	t.Parallel()
	d := capmontest.StartDaemon(t)
	disk := testutil.SmallDisk(t, "16m")
	s := serveAt(t, d.Host, "--db", filepath.Join(disk, "capmon.db"), "--rules", "builtin")
	s.Database = filepath.Join(disk, "capmon.db")
	s.Saved()
	testutil.Fill(t, disk)
	s.Until("the disk is full", func(state daemon.State) bool { return state.Trouble != "" })
	id := strings.TrimSpace(d.Docker("create", "--rm", "--name=alerted-unsaved", capmontest.OwnFileSystem, "bb", "probe", "repeat", "3", "rawsock"))
	d.Docker("start", "--attach", id)
	for range 2 {
		now, before := time.Now(), s.State().Failures
		s.Until("all is in the fallback store", func(state daemon.State) bool { return state.ReportedUntil.After(now) && state.Failures > before+1 })
		s.Kill()
		d.Stop()
		d.Start()
		s.Start()
	}
	mustExecute(t, "rm", filepath.Join(disk, "filler"))
	s.Saved()
	if got := capmontest.KeptIn(t, binary, s.Database)[id]; got.Name != "alerted-unsaved" || got.EngineError != "" || got.Counts()["NET_RAW"] != 3 {
		t.Errorf("its record: %+v", got)
	}
	if got := s.rawSocketAlerts("?container=alerted-*"); got["alerted-unsaved"] != 1 {
		t.Errorf("alerts: %v", got)
	}
	if _, err := os.Stat(daemon.FallbackPath(runtimeDirectory, s.Database)); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("the fallback store still exists: %v", err)
	}
}

// When the engine is reachable again, serve finds out what happened to containers in the meantime.
func TestServeCatchesUpAfterTheEngineWasAway(t *testing.T) {
	t.Parallel()
	d := capmontest.StartDaemon(t) // a separate engine, since engines keep only a few events
	cable := newCableTo(t, d.Host)
	s := serveAt(t, cable.host())
	renamed := capmontest.StartPerformer(t, d.Host, "old-name")
	removed := capmontest.StartPerformer(t, d.Host, "removed")
	s.await("old-name")
	s.await(`"removed"`)
	cable.pullOut()
	removed.Do("probe setuid0")
	d.Docker("rm", "-f", "removed")
	d.Docker("rename", "old-name", "new-name")
	renamed.Do("probe repeat 2 setuid0")
	d.Docker("run", "--rm", "--name=short", "bb", "probe", "repeat", "3", "setuid0")
	d.Docker("create", "--name=first-name", "bb", "probe", "repeat", "4", "setuid0")
	d.Docker("start", "--attach", "first-name")
	d.Docker("rename", "first-name", "last-name")
	d.Docker("rm", "last-name")
	made := capmontest.StartPerformer(t, d.Host, "made")
	made.Do("probe repeat 5 setuid0")
	s.Saved() // without what the engine cannot report
	cable.plugIn()
	s.await(`"made"`)
	made.Do("probe repeat 6 setuid0")
	wanted := map[string]uint64{"removed": 1, "new-name": 2, "short": 3, "last-name": 4, "made": 11, "old-name": 0, "first-name": 0}
	eventually(t, "all have their names", func() bool {
		got := setuids(t, s.Database)
		for name, n := range wanted {
			if got[name] != n {
				return false
			}
		}
		return true
	})
	if state := s.State(); state.Losses.Any() || state.Failures > 0 {
		t.Errorf("%+v", state)
	}
}

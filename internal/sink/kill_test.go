package sink

import (
	"bufio"
	"fmt"
	"math/rand/v2"
	"net/http"
	"os"
	"os/exec"
	"slices"
	"strings"
	"testing"
	"time"

	"go.uber.org/zap"
)

// TestMain is also the process that TestKilledAtAnyPoint kills: it delivers until then, and
// writes the IDs of what the disk has.
func TestMain(m *testing.M) {
	if address := os.Getenv("CAPMON_TEST_DELIVER_TO"); address != "" {
		deliverUntilKilled((&receiver{address: address}).config(), os.Getenv("CAPMON_TEST_SPOOL"))
		return
	}
	os.Exit(m.Run())
}

func deliverUntilKilled(config Config, directory string) {
	s, err := Open([]Config{config}, Spool{directory, 64 << 20}, zap.NewNop())
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	queue := s.outlets[0].courier.queue
	for n := 0; ; n++ {
		a := numberedAlert(n)
		s.Deliver(a)
		queue.Flush()
		fmt.Println(a.ID)
	}
}

// What the spool has is delivered, whenever capmon is killed: by the next one, in order.
func TestKilledAtAnyPoint(t *testing.T) {
	t.Parallel()
	directory := t.TempDir()
	r := newReceiver(t)
	r.answer = func(http.ResponseWriter, Message) bool { time.Sleep(time.Millisecond); return true }
	r.start(t)
	var accepted []string
	for range 10 {
		cmd := exec.Command(os.Args[0])
		cmd.Env = append(os.Environ(), "CAPMON_TEST_DELIVER_TO="+r.address, "CAPMON_TEST_SPOOL="+directory)
		var stderr strings.Builder
		cmd.Stderr = &stderr
		out, err := cmd.StdoutPipe()
		if err != nil {
			t.Fatal(err)
		}
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		lines, last := bufio.NewScanner(out), 5+rand.IntN(30)
		for n := 1; lines.Scan(); n++ { // and whatever comes after the last one, until its death
			accepted = append(accepted, lines.Text())
			if n == last {
				time.AfterFunc(time.Duration(rand.IntN(3000))*time.Microsecond, func() { _ = cmd.Process.Kill() })
			}
		}
		_ = cmd.Wait()
		if stderr.Len() > 0 {
			t.Fatal(stderr.String())
		}
		if len(accepted) > 0 && len(accepted[len(accepted)-1]) < len(numberedAlert(0).ID) {
			accepted = accepted[:len(accepted)-1] // it was killed while it wrote
		}
	}
	s := openSinks(t, nil, Spool{Directory: directory}, r.config())
	last := numberedAlert(0)
	s.Deliver(last)
	accepted = append(accepted, last.ID)
	eventually(t, "the last alert is there", func() bool { return slices.Contains(r.ids(), last.ID) })
	// The disk may have had one more at each death than could be said.
	got := slices.DeleteFunc(r.ids(), func(id string) bool { return !slices.Contains(accepted, id) })
	if !slices.Equal(got, accepted) || len(r.ids()) > len(accepted)+10 {
		t.Errorf("got %d alerts, %d were accepted, and the order has to be the same", len(r.ids()), len(accepted))
	}
}

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

	"github.com/capmon/capmon/internal/testutil"
)

// TestMain is also the main function of the process that TestKilledAtAnyPoint kills. That process delivers
// alerts until it is killed, and prints the ID of each alert that is on disk.
func TestMain(m *testing.M) {
	if address := os.Getenv("CAPMON_TEST_DELIVER_TO"); address != "" {
		deliverUntilKilled((&receiver{HTTPServer: &testutil.HTTPServer{Address: address}}).config(), os.Getenv("CAPMON_TEST_SPOOL"))
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
	queue := s.running[0].loop.queue
	for n := 0; ; n++ {
		a := numberedAlert(n)
		s.Deliver(a)
		queue.Flush()
		fmt.Println(a.ID)
	}
}

// If capmon is killed, the next capmon delivers the alerts in the spool, in order.
func TestKilledAtAnyPoint(t *testing.T) {
	t.Parallel()
	directory := t.TempDir()
	r := newReceiver(t)
	r.answer = func(http.ResponseWriter, Message) bool { time.Sleep(time.Millisecond); return true }
	r.start(t)
	var accepted []string
	for range 10 {
		cmd := exec.Command(os.Args[0])
		cmd.Env = append(os.Environ(), "CAPMON_TEST_DELIVER_TO="+r.Address, "CAPMON_TEST_SPOOL="+directory)
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
		for n := 1; lines.Scan(); n++ { // also those printed after the last one, until the process is killed
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
			accepted = accepted[:len(accepted)-1] // the process was killed while it printed
		}
	}
	s := openSinks(t, nil, Spool{Directory: directory}, r.config())
	last := numberedAlert(0)
	s.Deliver(last)
	accepted = append(accepted, last.ID)
	testutil.Eventually(t, "the last alert is there", func() bool { return slices.Contains(r.ids(), last.ID) })
	// Each time, one more alert may be on disk than was printed.
	got := slices.DeleteFunc(r.ids(), func(id string) bool { return !slices.Contains(accepted, id) })
	if !slices.Equal(got, accepted) || len(r.ids()) > len(accepted)+10 {
		t.Errorf("got %d alerts, %d were accepted, and the order has to be the same", len(r.ids()), len(accepted))
	}
}

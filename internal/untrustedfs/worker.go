package untrustedfs

import (
	"encoding/gob"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"os/signal"
	"runtime/debug"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// workerName is the name by which this program runs as a helper process.
const workerName = "capmon-lookup"

// mostBytes is how long a request or an answer may be.
const mostBytes = 1 << 20

// Main does the work of a helper process, and ends it, if this process is one. Otherwise it does
// nothing. A program that makes a [Pool] has to call it before anything else.
func Main() {
	if len(os.Args) > 0 && os.Args[0] == workerName {
		signal.Ignore(unix.SIGHUP, unix.SIGINT, unix.SIGTERM) // it ends with its parent
		debug.SetGCPercent(20)
		serve(os.NewFile(3, "capmon"))
	}
}

// serve deals with one request after the other. It ends the process when the other side is
// closed, even while a file system does not answer.
func serve(stream io.ReadWriter) {
	requests := make(chan Request)
	go func() {
		in := newDecoder(stream)
		for {
			var request Request
			if in.decode(&request) != nil {
				os.Exit(0)
			}
			requests <- request
		}
	}()
	out := gob.NewEncoder(stream)
	for request := range requests {
		if out.Encode(request.answer()) != nil {
			os.Exit(0)
		}
	}
}

// decoder reads messages of a bounded length.
type decoder struct {
	*gob.Decoder
	stream io.LimitedReader
}

func newDecoder(stream io.Reader) *decoder {
	d := &decoder{stream: io.LimitedReader{R: stream}}
	d.Decoder = gob.NewDecoder(&d.stream)
	return d
}

func (d *decoder) decode(message any) error {
	d.stream.N = mostBytes
	return d.Decode(message)
}

// worker is a helper process as its parent knows it.
type worker struct {
	stream net.Conn
	out    *gob.Encoder
	in     *decoder
	kill   func()
	wait   func()
}

func newWorker(stream net.Conn, kill, wait func()) *worker {
	return &worker{stream: stream, out: gob.NewEncoder(stream), in: newDecoder(stream), kill: kill, wait: wait}
}

// ask returns os.ErrDeadlineExceeded if there was no answer in time. After an error the worker is
// of no use any more.
func (w *worker) ask(request Request, limit time.Duration) (answer Answer, err error) {
	err = w.stream.SetDeadline(time.Now().Add(limit))
	if err == nil {
		err = w.out.Encode(request)
	}
	if err == nil {
		err = w.in.decode(&answer)
	}
	if err != nil {
		return Answer{}, fmt.Errorf("asking a helper process: %w", err)
	}
	return answer, nil
}

// start starts a helper process: this program once more. It has nothing open but its end of the
// stream, so that nobody waits for it who waits for the end of capmon's output, and is in a
// process group of its own, so that no terminal ends it.
func start() (*worker, error) {
	if os.Args[0] == workerName {
		return nil, errors.New("a helper process cannot start another one: the program does not call untrustedfs.Main")
	}
	ends, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil, fmt.Errorf("starting a helper process: %w", err)
	}
	own, others := os.NewFile(uintptr(ends[0]), "helper"), os.NewFile(uintptr(ends[1]), "capmon")
	defer own.Close()
	defer others.Close()
	stream, err := net.FileConn(own)
	if err != nil {
		return nil, fmt.Errorf("starting a helper process: %w", err)
	}
	cmd := exec.Command("/proc/self/exe")
	cmd.Args = []string{workerName}
	cmd.Dir = "/"
	cmd.ExtraFiles = []*os.File{others}
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	if err := cmd.Start(); err != nil {
		stream.Close()
		return nil, fmt.Errorf("starting a helper process: %w", err)
	}
	kill := func() {
		stream.Close()
		_ = cmd.Process.Kill()
	}
	return newWorker(stream, kill, func() { _ = cmd.Wait() }), nil
}

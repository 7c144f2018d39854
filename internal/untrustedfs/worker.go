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

// workerName is argv[0] of a helper process.
const workerName = "capmon-lookup"

// maxBytes is the maximum length of a request or an answer.
const maxBytes = 1 << 20

// Main runs the helper process and does not return, if this process was started as one. Otherwise it does nothing.
// A program that makes a [Pool] must call Main before anything else.
func Main() {
	if len(os.Args) > 0 && os.Args[0] == workerName {
		signal.Ignore(unix.SIGHUP, unix.SIGINT, unix.SIGTERM) // it exits when its parent closes the stream
		debug.SetGCPercent(20)
		serve(os.NewFile(3, "capmon"))
	}
}

// serve answers one request after the other. It ends the process when the other side closes the stream, even while
// a file system does not answer.
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

// decoder reads messages of at most maxBytes.
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
	d.stream.N = maxBytes
	return d.Decode(message)
}

// worker is the parent's handle of a helper process.
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

// do sends a request and waits for the answer. It returns [os.ErrDeadlineExceeded] if the answer does not arrive
// within limit. After an error the worker must not be used again.
func (w *worker) do(request Request, limit time.Duration) (answer Answer, err error) {
	err = w.stream.SetDeadline(time.Now().Add(limit))
	if err == nil {
		err = w.out.Encode(request)
	}
	if err == nil {
		err = w.in.decode(&answer)
	}
	if err != nil {
		return Answer{}, fmt.Errorf("sending a request to a helper process: %w", err)
	}
	return answer, nil
}

// start starts a helper process from this program's own file. Its only open file is its end of the stream: a process
// that reads capmon's output until the end does not wait for the helper. The helper has its own process group, so
// signals from a terminal do not end it.
func start() (*worker, error) {
	if os.Args[0] == workerName {
		return nil, errors.New("a helper process cannot start another one: the program must call untrustedfs.Main first")
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

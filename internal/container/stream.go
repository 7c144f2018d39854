package container

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"sync"

	"golang.org/x/sys/unix"
)

// stream serves a request after which the connection may become a plain stream
// in both directions: attach, exec, BuildKit's sessions. httputil.ReverseProxy
// cannot: it does not pass on that one side has finished sending (the end of
// stdin), and knows no stream without an Upgrade header, which old clients use.
func (p *Proxy) stream(w http.ResponseWriter, r *http.Request) {
	backend, err := p.docker.client.Dialer()(r.Context())
	if err != nil {
		p.refuse(w, r, err)
		return
	}
	defer backend.Close()
	defer context.AfterFunc(r.Context(), func() { backend.Close() })()

	fromBackend := bufio.NewReader(backend)
	reply, err := p.ask(backend, fromBackend, r)
	if err != nil {
		p.refuse(w, r, err)
		return
	}
	if !becomesStream(reply) {
		passOn(w, reply)
		return
	}
	conn, buffered, err := http.NewResponseController(w).Hijack()
	if err != nil {
		p.refuse(w, r, err)
		return
	}
	client := conn.(*net.UnixConn)
	defer client.Close()
	defer context.AfterFunc(p.ctx, func() { client.Close() })()

	// The client may have begun to send before it got the reply.
	early, _ := buffered.Peek(buffered.Reader.Buffered())
	fromClient := io.MultiReader(bytes.NewReader(early), client)
	if err := writeHead(client, reply); err != nil {
		return
	}
	join(client, fromClient, backend, fromBackend)
}

// ask sends the request and reads the head of the reply.
func (p *Proxy) ask(backend io.Writer, fromBackend *bufio.Reader, r *http.Request) (*http.Response, error) {
	out := r.Clone(r.Context())
	p.aim(out, r)
	out.Header.Del("Expect") // our server has said Continue
	if err := out.Write(backend); err != nil {
		return nil, err
	}
	for {
		reply, err := http.ReadResponse(fromBackend, out)
		if err != nil || reply.StatusCode >= 200 || reply.StatusCode == http.StatusSwitchingProtocols {
			return reply, err
		}
	}
}

// becomesStream: without an Upgrade header the engine says 200, and neither a
// length nor chunks follow.
func becomesStream(reply *http.Response) bool {
	return reply.StatusCode == http.StatusSwitchingProtocols ||
		reply.StatusCode == http.StatusOK && reply.ContentLength < 0 && len(reply.TransferEncoding) == 0
}

// passOn gives the client an ordinary reply, such as an error.
func passOn(w http.ResponseWriter, reply *http.Response) {
	defer reply.Body.Close()
	for name, values := range reply.Header {
		if name != "Connection" && name != "Upgrade" {
			w.Header()[name] = values
		}
	}
	w.WriteHeader(reply.StatusCode)
	if _, err := io.Copy(w, reply.Body); err != nil {
		panic(http.ErrAbortHandler) // so that the client sees that it is cut short
	}
}

func writeHead(w io.Writer, reply *http.Response) error {
	var head bytes.Buffer
	fmt.Fprintf(&head, "HTTP/1.1 %s\r\n", reply.Status)
	if err := reply.Header.Write(&head); err != nil {
		return err
	}
	head.WriteString("\r\n")
	_, err := w.Write(head.Bytes())
	return err
}

// join connects two connections until both sides have finished, or the client has
// gone. As on one connection, either side may finish sending and go on receiving.
// It closes both.
func join(client *net.UnixConn, fromClient io.Reader, backend net.Conn, fromBackend io.Reader) {
	var watcher sync.WaitGroup
	inputEnded := make(chan struct{})
	watcher.Go(func() {
		input(client, fromClient, backend)
		close(inputEnded)
		// The engine takes the end of input for an end of stdin; that the client
		// is no more there it learns from the end of the connection.
		if awaitHangup(client) {
			backend.Close()
		}
	})
	if _, err := io.Copy(client, fromBackend); err == nil {
		_ = client.CloseWrite()
		<-inputEnded
	} // else one of them has gone
	client.Close()
	backend.Close()
	watcher.Wait()
}

// input passes on what the client sends until it finishes, or until the engine
// takes no more.
func input(client *net.UnixConn, fromClient io.Reader, backend net.Conn) {
	buffer := make([]byte, 32<<10)
	for {
		n, err := fromClient.Read(buffer)
		if _, err := backend.Write(buffer[:n]); err != nil {
			// Further writes of the client's must fail as they would on the engine's
			// own socket. What it has sent already has to be read: closing a unix
			// socket with input left makes the other side lose output.
			_ = client.CloseRead()
			_, _ = io.Copy(io.Discard, client)
			return
		}
		if err != nil {
			break
		}
	}
	if half, ok := backend.(interface{ CloseWrite() error }); ok {
		_ = half.CloseWrite()
	}
}

// awaitHangup waits until the client has closed its socket for both directions,
// or until ours is closed, where it returns false. It sleeps in the runtime's
// poller, which wakes it when the peer's state changes.
func awaitHangup(client *net.UnixConn) bool {
	raw, err := client.SyscallConn()
	if err != nil {
		return false
	}
	err = raw.Read(func(fd uintptr) bool {
		poll := []unix.PollFd{{Fd: int32(fd)}} // hang-ups are always told
		_, err := unix.Poll(poll, 0)
		return err == nil && poll[0].Revents&unix.POLLHUP != 0
	})
	return err == nil
}

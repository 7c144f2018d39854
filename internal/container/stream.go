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

// stream serves a request after which the connection may become a plain stream in both directions: attach, exec,
// BuildKit's sessions. httputil.ReverseProxy cannot do that. It does not pass on that one side has finished sending
// (the end of stdin). It also does not support streams without an Upgrade header, which old clients use.
func (p *Proxy) stream(w http.ResponseWriter, r *http.Request) {
	backend, err := p.docker.client.Dialer()(r.Context())
	if err != nil {
		p.replyUnreachable(w, r, err)
		return
	}
	defer backend.Close()
	defer context.AfterFunc(r.Context(), func() { backend.Close() })()

	fromBackend := bufio.NewReader(backend)
	reply, err := p.sendRequest(backend, fromBackend, r)
	if err != nil {
		p.replyUnreachable(w, r, err)
		return
	}
	if !becomesStream(reply) {
		copyReply(w, reply)
		return
	}
	conn, buffered, err := http.NewResponseController(w).Hijack()
	if err != nil {
		p.replyUnreachable(w, r, err)
		return
	}
	client := conn.(*net.UnixConn)
	defer client.Close()
	defer context.AfterFunc(p.ctx, func() { client.Close() })()

	// The client may send data before it gets the reply.
	early, _ := buffered.Peek(buffered.Reader.Buffered())
	fromClient := io.MultiReader(bytes.NewReader(early), client)
	if err := writeHead(client, reply); err != nil {
		return
	}
	connect(client, fromClient, backend, fromBackend)
}

// sendRequest sends the request to the engine and reads the head of the reply.
func (p *Proxy) sendRequest(backend io.Writer, fromBackend *bufio.Reader, r *http.Request) (*http.Response, error) {
	out := r.Clone(r.Context())
	p.setTarget(out, r)
	out.Header.Del("Expect") // our server has already sent Continue
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

// becomesStream reports whether the connection becomes a plain stream. Without an Upgrade header, the engine replies
// with status 200, without a length and without chunks.
func becomesStream(reply *http.Response) bool {
	return reply.StatusCode == http.StatusSwitchingProtocols ||
		reply.StatusCode == http.StatusOK && reply.ContentLength < 0 && len(reply.TransferEncoding) == 0
}

// copyReply sends an ordinary reply to the client, such as an error.
func copyReply(w http.ResponseWriter, reply *http.Response) {
	defer reply.Body.Close()
	for name, values := range reply.Header {
		if name != "Connection" && name != "Upgrade" {
			w.Header()[name] = values
		}
	}
	w.WriteHeader(reply.StatusCode)
	if _, err := io.Copy(w, reply.Body); err != nil {
		panic(http.ErrAbortHandler) // the client then sees that the reply is incomplete
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

// connect copies data between two connections until both sides have finished or the client has disconnected. Either
// side may finish sending and still receive. It closes both connections.
func connect(client *net.UnixConn, fromClient io.Reader, backend net.Conn, fromBackend io.Reader) {
	var watcher sync.WaitGroup
	inputEnded := make(chan struct{})
	watcher.Go(func() {
		input(client, fromClient, backend)
		close(inputEnded)
		// For the engine, the end of input is the end of stdin. It only notices that the client has disconnected when
		// the connection ends.
		if awaitHangup(client) {
			backend.Close()
		}
	})
	if _, err := io.Copy(client, fromBackend); err == nil {
		_ = client.CloseWrite()
		<-inputEnded
	} // otherwise one side has disconnected
	client.Close()
	backend.Close()
	watcher.Wait()
}

// input passes on what the client sends until the client finishes or the engine accepts no more.
func input(client *net.UnixConn, fromClient io.Reader, backend net.Conn) {
	buffer := make([]byte, 32<<10)
	for {
		n, err := fromClient.Read(buffer)
		if _, err := backend.Write(buffer[:n]); err != nil {
			// Further writes of the client must fail, as they would on the engine's own socket. Data that the client
			// has already sent must be read: if a unix socket is closed with unread input, the other side loses output.
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

// awaitHangup waits until the client has closed its socket for both directions. It returns false if our side was
// closed. It waits in the runtime's poller, which wakes it when the state of the other side changes.
func awaitHangup(client *net.UnixConn) bool {
	raw, err := client.SyscallConn()
	if err != nil {
		return false
	}
	err = raw.Read(func(fd uintptr) bool {
		poll := []unix.PollFd{{Fd: int32(fd)}} // the kernel always reports hang-ups
		_, err := unix.Poll(poll, 0)
		return err == nil && poll[0].Revents&unix.POLLHUP != 0
	})
	return err == nil
}

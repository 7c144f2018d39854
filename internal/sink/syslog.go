package sink

import (
	"cmp"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"net/url"
	"os"
	"path"
	"slices"
	"strconv"
	"syscall"
	"time"

	gosyslog "github.com/leodido/go-syslog/v4"
	"github.com/leodido/go-syslog/v4/rfc5424"
	"golang.org/x/sys/unix"

	"github.com/capmon/capmon/internal/alert"
)

const (
	// ackInterval is the interval between checks for acknowledgments.
	ackInterval = time.Millisecond
	// elementID contains the enterprise number that RFC 5612 reserves for documentation.
	elementID = "capmon@32473"
)

// Syslog is a server that accepts RFC 5424 messages.
type Syslog struct {
	// Address is unix:///dev/log, udp://HOST:PORT, tcp://HOST:PORT or tls://HOST:PORT.
	Address string `yaml:"address,omitempty"`
	// Facility is the name of the facility; "" for daemon.
	Facility string `yaml:"facility,omitempty"`
	// Timeout of a delivery; 0 for 10 s.
	Timeout Duration `yaml:"timeout,omitempty"`
	// CAFile contains, in PEM, the certificates of the authorities that can sign the server's certificate;
	// "" for the system's authorities.
	CAFile string `yaml:"ca-file,omitempty"`

	authorities string // the contents of CAFile
}

// facilities maps the names of facilities to their numbers.
func facilities() map[string]uint8 {
	return map[string]uint8{
		"kern": 0, "user": 1, "mail": 2, "daemon": 3, "auth": 4, "syslog": 5, "authpriv": 10,
		"local0": 16, "local1": 17, "local2": 18, "local3": 19, "local4": 20, "local5": 21, "local6": 22, "local7": 23,
	}
}

// syslog is the transport of a [Syslog].
type syslog struct {
	Syslog
	target *url.URL
	tls    *tls.Config
	host   string
	conn   *connection // nil: not connected
}

// connection is a connection that detects when the server closes it. The syslog protocol has no confirmation. A
// message counts as delivered when the kernel of the other host has acknowledged it.
type connection struct {
	net.Conn
	raw     net.Conn      // the connection below TLS
	packets bool          // each message is a packet
	ended   chan struct{} // closed when a stream ends; nil for packets
}

func (s Syslog) open() (transport, error) {
	target, err := url.Parse(s.Address)
	if err != nil {
		return nil, errors.New("the address cannot be parsed")
	}
	config, err := tlsConfig(s.authorities)
	if err != nil {
		return nil, err
	}
	s.Timeout = cmp.Or(s.Timeout, defaultTimeout)
	host, _ := os.Hostname() // if unknown, messages do not contain it
	return &syslog{Syslog: s, target: target, tls: config, host: host}, nil
}

// resolved returns s with the contents of CAFile.
func (s Syslog) resolved() (Destination, error) {
	var err error
	s.authorities, err = readAuthorities(s.CAFile)
	return s, err
}

func (s Syslog) check() error {
	target, err := url.Parse(s.Address)
	switch {
	case err != nil:
	case target.Scheme == "unix" && target.Host == "" && path.IsAbs(target.Path):
		return nil
	case slices.Contains([]string{"udp", "tcp", "tls"}, target.Scheme) && target.Hostname() != "" && target.Port() != "" &&
		target.Path == "" && target.User == nil && target.RawQuery == "":
		return nil
	}
	return fmt.Errorf("invalid address %q: use unix:///dev/log, udp://HOST:PORT, tcp://HOST:PORT or tls://HOST:PORT", s.Address)
}

func (s *syslog) maxBatch() int { return batchSize }

func (s *syslog) close() error {
	s.disconnect()
	return nil
}

func (s *syslog) disconnect() {
	if s.conn != nil {
		_ = s.conn.Close()
		s.conn = nil
	}
}

func (s *syslog) send(ctx context.Context, messages []Message) error {
	ctx, cancel := context.WithTimeout(ctx, time.Duration(s.Timeout))
	defer cancel()
	if err := s.transfer(ctx, messages); err != nil {
		s.disconnect()
		if errors.Is(err, unix.EMSGSIZE) && len(messages) == 1 {
			return rejectionf("the message is too long for a packet: use a tcp:// address")
		}
		return fmt.Errorf("syslog at %s: %w", s.target.Redacted(), err)
	}
	return nil
}

func (s *syslog) transfer(ctx context.Context, messages []Message) error {
	if s.conn != nil && s.conn.hasEnded() {
		s.disconnect()
	}
	if s.conn == nil {
		var err error
		if s.conn, err = s.dial(ctx); err != nil {
			return err
		}
	}
	conn := s.conn.Conn
	stop := context.AfterFunc(ctx, func() { _ = conn.SetWriteDeadline(time.Unix(1, 0)) })
	defer stop()
	for _, m := range messages {
		text, err := s.format(m)
		if err != nil {
			return err
		}
		if err := s.conn.write(text); err != nil {
			return err
		}
	}
	return s.conn.flush(ctx)
}

func (s *syslog) dial(ctx context.Context) (*connection, error) {
	var dialer net.Dialer
	switch s.target.Scheme {
	case "unix":
		return dialUnix(ctx, s.target.Path)
	case "udp":
		conn, err := dialer.DialContext(ctx, "udp", s.target.Host)
		if err != nil {
			return nil, err
		}
		return &connection{Conn: conn, raw: conn, packets: true}, nil
	}
	conn, err := dialer.DialContext(ctx, "tcp", s.target.Host)
	if err != nil {
		return nil, err
	}
	if s.target.Scheme == "tcp" {
		return newStream(conn, conn), nil
	}
	config := s.tls.Clone()
	config.ServerName = s.target.Hostname()
	secure := tls.Client(conn, config)
	if err := secure.HandshakeContext(ctx); err != nil {
		_ = conn.Close()
		return nil, err
	}
	return newStream(secure, conn), nil
}

// dialUnix connects to a unix socket of either type. /dev/log is usually a datagram socket.
func dialUnix(ctx context.Context, socket string) (*connection, error) {
	var dialer net.Dialer
	conn, err := dialer.DialContext(ctx, "unixgram", socket)
	if err == nil {
		return &connection{Conn: conn, raw: conn, packets: true}, nil
	}
	if !errors.Is(err, unix.EPROTOTYPE) {
		return nil, err
	}
	if conn, err = dialer.DialContext(ctx, "unix", socket); err != nil {
		return nil, err
	}
	return newStream(conn, conn), nil
}

// newStream returns a connection that detects when the server closes the stream. Otherwise, a message that is written
// after that would seem to be delivered.
func newStream(conn, raw net.Conn) *connection {
	c := &connection{Conn: conn, raw: raw, ended: make(chan struct{})}
	go func() {
		defer close(c.ended)
		for buffer := make([]byte, 512); ; { // servers send nothing
			if _, err := conn.Read(buffer); err != nil {
				return
			}
		}
	}()
	return c
}

func (c *connection) hasEnded() bool {
	select {
	case <-c.ended:
		return true
	default: // also for packets, where ended is nil
		return false
	}
}

// write writes a message. On a stream, the length precedes the message, as RFC 5425 and RFC 6587 specify.
func (c *connection) write(text string) error {
	if !c.packets {
		text = strconv.Itoa(len(text)) + " " + text
	}
	_, err := c.Write([]byte(text))
	return err
}

// flush waits until the kernel of the other host has acknowledged all data or, on a unix socket, until the
// server has read it. For UDP, flush only detects errors that the local kernel reports.
func (c *connection) flush(ctx context.Context) error {
	tick := time.NewTicker(ackInterval)
	defer tick.Stop()
	for {
		waiting, err := c.unacknowledged()
		if err != nil || waiting == 0 {
			return err
		}
		select {
		case <-c.ended:
			return errors.New("the server has closed the connection")
		case <-ctx.Done():
			return errors.New("the server did not acknowledge the message before the timeout")
		case <-tick.C:
		}
	}
}

func (c *connection) unacknowledged() (int, error) {
	raw, err := c.raw.(syscall.Conn).SyscallConn()
	if err != nil {
		return 0, err
	}
	var waiting int
	var failed error
	err = raw.Control(func(fd uintptr) {
		if errno, err := unix.GetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_ERROR); err != nil || errno != 0 {
			failed = errors.Join(err, unix.Errno(errno))
			return
		}
		if _, udp := c.raw.(*net.UDPConn); !udp {
			waiting, failed = unix.IoctlGetInt(int(fd), unix.SIOCOUTQ)
		}
	})
	return waiting, errors.Join(err, failed)
}

// format returns an RFC 5424 message with the summary, and the fields as structured data.
func (s *syslog) format(m Message) (string, error) {
	parameters := make(map[string]string)
	for _, f := range m.fields() {
		parameters[f.name] = f.value
	}
	priority := facilities()[cmp.Or(s.Facility, "daemon")]*8 + syslogSeverity(m.Severity)
	program, process, kind, at := "capmon", strconv.Itoa(os.Getpid()), "alert", m.Time.UTC()
	message := rfc5424.SyslogMessage{
		Version:        1,
		StructuredData: &map[string]map[string]string{elementID: parameters},
		Base: gosyslog.Base{
			Priority: &priority, Timestamp: &at, Appname: &program, ProcID: &process, MsgID: &kind, Message: &m.Summary,
		},
	}
	if s.host != "" {
		message.Hostname = &s.host
	}
	return message.String()
}

func syslogSeverity(severity alert.Severity) uint8 {
	switch severity {
	case alert.Critical:
		return 2
	case alert.Warning:
		return 4
	}
	return 6
}

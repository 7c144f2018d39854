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
	// ackInterval is how often it is looked whether what was sent has arrived.
	ackInterval = time.Millisecond
	// elementID has the number that RFC 5612 keeps for those who have none of their own.
	elementID = "capmon@32473"
)

// Syslog is a server that takes messages of RFC 5424.
type Syslog struct {
	// Address as unix:///dev/log, udp://HOST:PORT, tcp://HOST:PORT or tls://HOST:PORT.
	Address string `yaml:"address,omitempty"`
	// Facility by its name; daemon if it is "".
	Facility string `yaml:"facility,omitempty"`
	// Timeout of a delivery; 10 s if it is 0.
	Timeout Duration `yaml:"timeout,omitempty"`
	// CAFile has certificates in PEM of who may sign the server's; the system's if it is "".
	CAFile string `yaml:"ca-file,omitempty"`

	authorities string // what is in CAFile
}

// facilities by their names.
func facilities() map[string]uint8 {
	return map[string]uint8{
		"kern": 0, "user": 1, "mail": 2, "daemon": 3, "auth": 4, "syslog": 5, "authpriv": 10,
		"local0": 16, "local1": 17, "local2": 18, "local3": 19, "local4": 20, "local5": 21, "local6": 22, "local7": 23,
	}
}

// syslog is the transport of a Syslog.
type syslog struct {
	Syslog
	target *url.URL
	tls    *tls.Config
	host   string
	line   *line // nil: none is open
}

// line is a connection whose end is noticed. Syslog confirms nothing: it is the other side's
// kernel that tells what has arrived.
type line struct {
	net.Conn
	raw     net.Conn // beneath TLS
	packets bool     // a message is a packet
	ended   chan struct{}
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
	host, _ := os.Hostname() // without one it is left out
	return &syslog{Syslog: s, target: target, tls: config, host: host}, nil
}

// resolved has what is in the files that it names.
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
	return fmt.Errorf("%q is no address as unix:///dev/log, udp://HOST:PORT, tcp://HOST:PORT or tls://HOST:PORT", s.Address)
}

func (s *syslog) most() int { return manyMessages }

func (s *syslog) close() error {
	s.hangUp()
	return nil
}

func (s *syslog) hangUp() {
	if s.line != nil {
		_ = s.line.Close()
		s.line = nil
	}
}

func (s *syslog) send(ctx context.Context, messages []Message) error {
	ctx, cancel := context.WithTimeout(ctx, time.Duration(s.Timeout))
	defer cancel()
	if err := s.transfer(ctx, messages); err != nil {
		s.hangUp()
		if errors.Is(err, unix.EMSGSIZE) && len(messages) == 1 {
			return refused("it is too long for a packet; tcp takes it")
		}
		return fmt.Errorf("syslog at %s: %w", s.target.Redacted(), err)
	}
	return nil
}

func (s *syslog) transfer(ctx context.Context, messages []Message) error {
	if s.line != nil && s.line.hasEnded() {
		s.hangUp()
	}
	if s.line == nil {
		var err error
		if s.line, err = s.dial(ctx); err != nil {
			return err
		}
	}
	conn := s.line.Conn
	stop := context.AfterFunc(ctx, func() { _ = conn.SetWriteDeadline(time.Unix(1, 0)) })
	defer stop()
	for _, m := range messages {
		text, err := s.format(m)
		if err != nil {
			return err
		}
		if err := s.line.write(text); err != nil {
			return err
		}
	}
	return s.line.flushed(ctx)
}

func (s *syslog) dial(ctx context.Context) (*line, error) {
	var dialer net.Dialer
	switch s.target.Scheme {
	case "unix":
		return dialUnix(ctx, s.target.Path)
	case "udp":
		conn, err := dialer.DialContext(ctx, "udp", s.target.Host)
		if err != nil {
			return nil, err
		}
		return &line{Conn: conn, raw: conn, packets: true}, nil
	}
	conn, err := dialer.DialContext(ctx, "tcp", s.target.Host)
	if err != nil {
		return nil, err
	}
	if s.target.Scheme == "tcp" {
		return attend(conn, conn), nil
	}
	config := s.tls.Clone()
	config.ServerName = s.target.Hostname()
	secure := tls.Client(conn, config)
	if err := secure.HandshakeContext(ctx); err != nil {
		_ = conn.Close()
		return nil, err
	}
	return attend(secure, conn), nil
}

// dialUnix takes the kind of socket that there is: /dev/log has packets, most often.
func dialUnix(ctx context.Context, socket string) (*line, error) {
	var dialer net.Dialer
	conn, err := dialer.DialContext(ctx, "unixgram", socket)
	if err == nil {
		return &line{Conn: conn, raw: conn, packets: true}, nil
	}
	if !errors.Is(err, unix.EPROTOTYPE) {
		return nil, err
	}
	if conn, err = dialer.DialContext(ctx, "unix", socket); err != nil {
		return nil, err
	}
	return attend(conn, conn), nil
}

// attend is a line of a stream, which notices when the server closes it: what is written then
// would seem to have been sent.
func attend(conn, raw net.Conn) *line {
	l := &line{Conn: conn, raw: raw, ended: make(chan struct{})}
	go func() {
		defer close(l.ended)
		for buffer := make([]byte, 512); ; { // servers say nothing
			if _, err := conn.Read(buffer); err != nil {
				return
			}
		}
	}()
	return l
}

func (l *line) hasEnded() bool {
	select {
	case <-l.ended:
		return true
	default: // also where nothing ends, as with packets
		return false
	}
}

// write writes a message; to a stream with its length before it, as RFC 5425 and RFC 6587 say.
func (l *line) write(text string) error {
	if !l.packets {
		text = strconv.Itoa(len(text)) + " " + text
	}
	_, err := l.Write([]byte(text))
	return err
}

// flushed waits until the other side has what was written: its kernel if it is another host,
// itself if it is a unix socket. Of UDP it is only known if this host has refused it.
func (l *line) flushed(ctx context.Context) error {
	tick := time.NewTicker(ackInterval)
	defer tick.Stop()
	for {
		waiting, err := l.unacknowledged()
		if err != nil || waiting == 0 {
			return err
		}
		select {
		case <-l.ended:
			return errors.New("the server has closed the connection")
		case <-ctx.Done():
			return errors.New("the server does not acknowledge in time")
		case <-tick.C:
		}
	}
}

func (l *line) unacknowledged() (int, error) {
	raw, err := l.raw.(syscall.Conn).SyscallConn()
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
		if _, udp := l.raw.(*net.UDPConn); !udp {
			waiting, failed = unix.IoctlGetInt(int(fd), unix.SIOCOUTQ)
		}
	})
	return waiting, errors.Join(err, failed)
}

// format is RFC 5424's: the summary, and the fields as structured data.
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

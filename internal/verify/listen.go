package verify

import (
	"context"
	"fmt"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/docker/docker/api/types/container"
	"github.com/docker/go-connections/nat"
)

// listenInterval is how often a container's sockets are read until it listens.
const listenInterval = 50 * time.Millisecond

// awaitPorts waits until a container without a HEALTHCHECK listens on the ports that the test names. One
// that does not at its first start, in listenPatience, is not waited for again: the test may name them
// for another purpose.
func (b *bench) awaitPorts(ctx context.Context, c container.InspectResponse) error {
	if b.healthcheck || b.deaf || c.State == nil {
		return nil
	}
	patient, cancel := ctx, func() {}
	if b.limits.took == 0 {
		patient, cancel = context.WithTimeout(ctx, listenPatience)
	}
	defer cancel()
	err := awaitListening(patient, c.State.Pid, testedPorts(c.NetworkSettings.Ports, b.test))
	if err != nil && ctx.Err() == nil {
		b.deaf = true
		return nil
	}
	return err
}

// listenPatience is how long the container may take until it listens at its first start.
const listenPatience = 30 * time.Second

// awaitListening waits until the container whose first process has the PID listens on the ports.
// Docker accepts connections to a published port even before that, and closes them, so a test that
// connects at once would fail by chance. It returns at once if the process has ended or its
// sockets cannot be read: the test decides then.
func awaitListening(ctx context.Context, pid int, ports []nat.Port) error {
	if len(ports) == 0 || pid <= 0 {
		return nil
	}
	process, err := os.OpenRoot(fmt.Sprintf("/proc/%d", pid)) // the PID may be used again, this is not
	if err != nil {
		return nil
	}
	defer process.Close()
	ticker := time.NewTicker(listenInterval)
	defer ticker.Stop()
	for {
		waiting := slices.ContainsFunc(ports, func(p nat.Port) bool {
			known, listening := listens(process, p)
			return known && !listening
		})
		if !waiting {
			return nil
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-ticker.C:
		}
	}
}

// listens reports whether a process's network namespace has a socket that receives at the port.
// It is not known if the tables cannot be read, or for other protocols than TCP and UDP.
func listens(process *os.Root, p nat.Port) (known, listening bool) {
	state := map[string]string{"tcp": "0A", "udp": "07"}[p.Proto()]
	if state == "" {
		return false, false
	}
	for _, version := range []string{"", "6"} { // the kernel may have no IPv6
		table, err := process.ReadFile("net/" + p.Proto() + version)
		known = known || err == nil
		listening = listening || hasSocket(string(table), p.Int(), state)
	}
	return known, listening
}

// hasSocket looks for a local port in a state in a table of /proc/net: the fields are the number
// of the line, ADDRESS:PORT of both ends in hexadecimal digits, the state and so on.
func hasSocket(table string, port int, state string) bool {
	for line := range strings.Lines(table) {
		fields := strings.Fields(line)
		if len(fields) > 3 && strings.HasSuffix(fields[1], fmt.Sprintf(":%04X", port)) && fields[3] == state {
			return true
		}
	}
	return false
}

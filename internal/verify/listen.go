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

// listenInterval is the interval at which the sockets of a container are read until it listens.
const listenInterval = 50 * time.Millisecond

// awaitPorts waits until a container without a HEALTHCHECK listens on the ports that the test names. If the container
// does not listen within listenTimeout at its first start, later calls do not wait: the test may use the ports for
// another purpose.
func (x *executor) awaitPorts(ctx context.Context, c container.InspectResponse) error {
	if x.healthcheck || x.ignoresPorts || c.State == nil {
		return nil
	}
	waitCtx, cancel := ctx, func() {}
	if x.limits.took == 0 {
		waitCtx, cancel = context.WithTimeout(ctx, listenTimeout)
	}
	defer cancel()
	err := awaitListening(waitCtx, c.State.Pid, testedPorts(c.NetworkSettings.Ports, x.test))
	if err != nil && ctx.Err() == nil {
		x.ignoresPorts = true
		return nil
	}
	return err
}

// listenTimeout is the time that a container may take until it listens at its first start.
const listenTimeout = 30 * time.Second

// awaitListening waits until the container whose first process has the PID listens on the ports. Docker accepts
// connections to a published port even before that, and closes them. A test that connects immediately would thus
// sometimes fail. If the process has ended or its sockets cannot be read, awaitListening returns immediately, and the
// test decides.
func awaitListening(ctx context.Context, pid int, ports []nat.Port) error {
	if len(ports) == 0 || pid <= 0 {
		return nil
	}
	process, err := os.OpenRoot(fmt.Sprintf("/proc/%d", pid)) // another process may get the PID, but not this directory
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

// listens reports whether the network namespace of a process has a socket that receives at the port. known is false if
// the tables cannot be read, or for protocols other than TCP and UDP.
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

// hasSocket reports whether a table of /proc/net has a local port in a state. The fields are the number of the line,
// ADDRESS:PORT of both ends in hexadecimal digits, the state and so on.
func hasSocket(table string, port int, state string) bool {
	for line := range strings.Lines(table) {
		fields := strings.Fields(line)
		if len(fields) > 3 && strings.HasSuffix(fields[1], fmt.Sprintf(":%04X", port)) && fields[3] == state {
			return true
		}
	}
	return false
}

package usewatch

import (
	"slices"
	"time"

	"github.com/capmon/capmon/capability"
	"github.com/capmon/capmon/internal/observe"
	"github.com/capmon/capmon/internal/uses"
	"github.com/capmon/capmon/monitor"
	"golang.org/x/sys/unix"
)

// familyOfOpen returns the family of an open raw socket, "" if the socket is not raw.
func familyOfOpen(socket monitor.Socket) uses.RawSocket {
	switch {
	case socket.Domain == unix.AF_INET && socket.Type == unix.SOCK_RAW:
		return uses.IPv4
	case socket.Domain == unix.AF_INET6 && socket.Type == unix.SOCK_RAW:
		return uses.IPv6
	case socket.Domain == unix.AF_PACKET:
		return uses.Packet
	case socket.Domain == unix.AF_XDP:
		return uses.XDP
	}
	return ""
}

// IsRaw reports whether an open socket is raw.
func IsRaw(socket monitor.Socket) bool { return familyOfOpen(socket) != "" }

// openReason is the reason of a use that is an open socket.
const openReason = "already open when watch started: capmon has not seen the check for it"

// openSockets returns the raw sockets that a process has open, as one use for each family.
func openSockets(holder monitor.SocketHolder, at time.Time) (all []uses.Use) {
	count := make(map[uses.RawSocket]uint64)
	for _, socket := range holder.Sockets {
		count[familyOfOpen(socket)]++
	}
	for _, family := range uses.RawSockets() {
		if count[family] == 0 {
			continue
		}
		all = append(all, uses.Use{
			Schema: uses.Schema, Time: at, First: true, Count: count[family], Container: uses.ContainerRef{ID: holder.ID},
			Process: uses.Process{
				PID: holder.PID, InnerPID: holder.InnerPID, Program: holder.Program, Executable: holder.Executable,
				User: &holder.UID, Parents: []uses.Parent{},
			},
			Capability: capability.NetRaw, Granted: true, RawSocket: true, Family: family, Open: true,
			Stack: []string{}, Reason: openReason,
		})
	}
	return all
}

// HandleOpenSockets reports the raw sockets that a process already had open at the start. It does not block.
func (w *Watcher) HandleOpenSockets(observer *observe.Observer, holder monitor.SocketHolder) {
	at, now := time.Now(), observer.Now()
	open := slices.DeleteFunc(openSockets(holder, now), func(use uses.Use) bool { return !w.options.Selection.wantsUse(use) })
	if len(open) == 0 {
		return
	}
	w.enqueue(holder.Cgroup, func() {
		container, wanted := w.identify(observer, holder.Cgroup, holder.ID, at)
		for _, use := range open {
			use.Container = container
			if wanted {
				w.report(holder.Cgroup, use)
			}
		}
	})
}

// Package systemd asks systemd about units, over D-Bus.
package systemd

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"os"
	"strings"
	"time"

	"github.com/coreos/go-systemd/v22/dbus"
	godbus "github.com/godbus/dbus/v5"

	"github.com/capmon/capmon/capability"
)

// Running reports whether systemd is the init system of this host.
func Running() bool {
	info, err := os.Lstat("/run/systemd/system") // as sd_booted(3)
	return err == nil && info.IsDir()
}

// timeout limits the time of one request.
const timeout = 10 * time.Second

// connect connects to systemd itself if this process is root, because a host may have no D-Bus daemon.
func connect(ctx context.Context) (*dbus.Conn, error) {
	if !Running() {
		return nil, errors.New("systemd is not the init system of this host, or capmon runs in a container without /run/systemd")
	}
	conn, err := dbus.NewSystemdConnectionContext(ctx)
	if err != nil {
		conn, err = dbus.NewSystemConnectionContext(ctx)
	}
	if err != nil {
		return nil, fmt.Errorf("connecting to systemd: %w", err)
	}
	return conn, nil
}

// StartScope moves a process into a new transient scope, and returns the name of the scope. systemd removes the scope
// when its last process has ended. It moves the process shortly after StartScope has returned.
func StartScope(ctx context.Context, pid int, description string) (scope string, err error) {
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	conn, err := connect(ctx)
	if err != nil {
		return "", err
	}
	defer conn.Close()
	scope = "capmon-" + strings.ToLower(rand.Text()) + ".scope"
	_, err = conn.StartTransientUnitContext(ctx, scope, "fail", []dbus.Property{
		dbus.PropDescription(description),
		dbus.PropPids(uint32(pid)),
		property("CollectMode", "inactive-or-failed"), // systemd forgets the scope even if it has failed
		property("TasksAccounting", true),             // with cgroup v1, it has no cgroup of its own otherwise
	}, nil)
	if err != nil {
		return "", fmt.Errorf("making a scope of systemd: %w", err)
	}
	return scope, nil
}

func property(name string, value any) dbus.Property {
	return dbus.Property{Name: name, Value: godbus.MakeVariant(value)}
}

// Unit describes a unit that runs.
type Unit struct {
	Name   string
	Cgroup string // as in /proc/PID/cgroup
	// Bounding and Ambient are the capability sets that the unit gives its processes. Known is false for scopes:
	// systemd does not start their processes.
	Bounding, Ambient capability.Set
	Known             bool
	User              string // "" for root
	MainPID           int    // 0 if systemd does not know it
	NoNewPrivileges   bool
	// Started is the start of the unit's current main process, or of the unit; zero if systemd does not know it.
	Started time.Time
	// InvocationID identifies this run of the unit.
	InvocationID string
}

// NotRunningError means that systemd does not run a unit.
type NotRunningError struct{ Name, State string }

func (e *NotRunningError) Error() string {
	if e.State == "not-found" {
		return fmt.Sprintf("there is no unit %s: systemctl list-units names the units", e.Name)
	}
	return fmt.Sprintf("the unit %s does not run (%s): start it with systemctl start %s", e.Name, e.State, e.Name)
}

// FindUnit returns a unit that runs. A name without a type is the name of a service. The error is a [*NotRunningError]
// if the unit does not run.
func FindUnit(ctx context.Context, name string) (Unit, error) {
	if !strings.Contains(name, ".") {
		name += ".service"
	}
	kind, err := typeOf(name)
	if err != nil {
		return Unit{}, err
	}
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	conn, err := connect(ctx)
	if err != nil {
		return Unit{}, err
	}
	defer conn.Close()
	general, err := conn.GetUnitPropertiesContext(ctx, name)
	if err != nil {
		return Unit{}, fmt.Errorf("asking systemd about %s: %w", name, err)
	}
	if state := text(general, "LoadState"); state == "not-found" {
		return Unit{}, &NotRunningError{name, state}
	}
	specific, err := conn.GetUnitTypePropertiesContext(ctx, name, kind)
	if err != nil {
		return Unit{}, fmt.Errorf("asking systemd about %s: %w", name, err)
	}
	unit := newUnit(text(general, "Id"), general, specific)
	if unit.Cgroup == "" {
		return Unit{}, &NotRunningError{name, text(general, "ActiveState")}
	}
	return unit, nil
}

// typeOf returns the interface of a unit's type.
func typeOf(name string) (string, error) {
	switch kind := name[strings.LastIndexByte(name, '.')+1:]; kind {
	case "service":
		return "Service", nil
	case "scope":
		return "Scope", nil
	}
	return "", fmt.Errorf("%s is not the name of a service or a scope: only these have processes of their own", name)
}

// newUnit reads the properties of a unit. general has the properties of every unit, specific
// has those that only its type has.
func newUnit(name string, general, specific map[string]any) Unit {
	unit := Unit{
		Name: name, Cgroup: text(specific, "ControlGroup"), User: text(specific, "User"),
		NoNewPrivileges: specific["NoNewPrivileges"] == true,
	}
	if bounding, ok := specific["CapabilityBoundingSet"].(uint64); ok {
		ambient, _ := specific["AmbientCapabilities"].(uint64)
		unit.Bounding, unit.Ambient, unit.Known = capability.Set(bounding), capability.Set(ambient), true
	}
	if pid, ok := specific["MainPID"].(uint32); ok {
		unit.MainPID = int(pid)
	}
	if id, ok := general["InvocationID"].([]byte); ok {
		unit.InvocationID = fmt.Sprintf("%x", id)
	}
	for _, at := range []any{specific["ExecMainStartTimestamp"], general["ActiveEnterTimestamp"]} {
		if micro, ok := at.(uint64); ok && micro != 0 && unit.Started.IsZero() {
			unit.Started = time.UnixMicro(int64(micro))
		}
	}
	return unit
}

func text(properties map[string]any, name string) string {
	value, _ := properties[name].(string)
	return value
}

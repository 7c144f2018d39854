package main

import (
	"errors"
	"fmt"
	"os"
	"strings"

	"github.com/capmon/capmon/internal/capability"
	"github.com/capmon/capmon/internal/kernel"
	"github.com/capmon/capmon/monitor"
)

// needed are the capabilities that recording takes: BPF and PERFMON to load and
// attach the programs, SYSLOG to read kernel addresses (kptr_restrict),
// DAC_READ_SEARCH and SYS_PTRACE to look at other users' processes in /proc.
// SYS_ADMIN, which root has, stands for the first two.
var needed = capability.Of(capability.BPF, capability.Perfmon, capability.Syslog,
	capability.DACReadSearch, capability.SysPtrace)

// missingRights tells which of them this process lacks.
func missingRights() (capability.Set, error) {
	have, err := kernel.EffectiveCapabilities()
	if err != nil {
		return 0, err
	}
	missing := needed.Minus(have)
	if have.Has(capability.SysAdmin) {
		missing = missing.Minus(capability.Of(capability.BPF, capability.Perfmon, capability.Syslog))
	}
	return missing, nil
}

func checkRights() error {
	missing, err := missingRights()
	if err != nil || missing.Empty() {
		return err
	}
	return fmt.Errorf("recording needs rights that this process lacks (%s): run it with sudo", withPrefix(missing))
}

func withPrefix(set capability.Set) string {
	var names []string
	for _, c := range set.Sorted() {
		names = append(names, "CAP_"+c.String())
	}
	return strings.Join(names, ", ")
}

// explain adds to an error of the monitor what can be done about it.
func explain(err error) error {
	var noHook *monitor.NoHookError
	switch {
	case errors.Is(err, os.ErrPermission):
		return fmt.Errorf("%w; run it with sudo, and see capmon doctor", err)
	case errors.As(err, &noHook):
		return fmt.Errorf("%w; see capmon doctor", err)
	}
	return err
}

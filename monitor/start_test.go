package monitor

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/capmon/capmon/internal/kernel"
)

func TestParseHook(t *testing.T) {
	for text, want := range map[string]Hook{"": "", "auto": "", "fexit": Fexit, "tp_btf": Tracepoint, "kprobe": Kprobe} {
		if got, err := ParseHook(text); got != want || err != nil {
			t.Errorf("%q: got %q, %v, wanted %q", text, got, err, want)
		}
	}
	if got, err := ParseHook("kretprobe"); got != "" || err == nil {
		t.Errorf("got %q for an unknown hook", got)
	}
}

// The kernel decides which hooks work. Each hook records, or has an error with the reason.
func TestEachHookRecordsOrFailsWithAReason(t *testing.T) {
	for _, hook := range Hooks() {
		t.Run(string(hook), func(t *testing.T) {
			before := openBPFObjects(t)
			m, err := Start(Options{Hook: hook})
			if err != nil {
				var none *NoHookError
				if !errors.As(err, &none) || len(none.Tried) != 1 || none.Tried[0].Hook != hook || none.Tried[0].Err == nil {
					t.Errorf("the error does not name the hook that failed: %#v", err)
				}
				var one *HookError
				if !errors.As(err, &one) || one.Hook != hook || !errors.Is(err, one.Err) {
					t.Errorf("the error does not wrap the error of the hook: %#v", err)
				}
				if after := openBPFObjects(t); !reflect.DeepEqual(after, before) {
					t.Errorf("held %v before and %v after", before, after)
				}
				return
			}
			t.Cleanup(func() { _ = m.Close() })
			if m.Hook() != hook || len(m.FailedHooks()) > 0 {
				t.Errorf("hook %s is used, %v failed", m.Hook(), m.FailedHooks())
			}
			c := find(t, m, run(t, "bb", "probe", "repeat", "12", "setuid0"))
			checks := setuidKind.of(c)
			if total(checks) != 12 {
				t.Errorf("counted %d checks, wanted 12", total(checks))
			}
			for _, check := range checks {
				if hasOpts := check.Opts >= 0; hasOpts == (hook == Tracepoint) {
					t.Errorf("opts are %d", check.Opts)
				}
			}
			lossless(t, snapshot(t, m))
			if err := m.Close(); err != nil {
				t.Error(err)
			}
			if after := openBPFObjects(t); !reflect.DeepEqual(after, before) {
				t.Errorf("held %v before and %v after", before, after)
			}
		})
	}
}

func TestTryHooksReturnsTheErrorsOfStart(t *testing.T) {
	before := openBPFObjects(t)
	tried, err := TryHooks(Options{})
	if err != nil {
		t.Fatal(err)
	}
	if after := openBPFObjects(t); !reflect.DeepEqual(after, before) {
		t.Errorf("held %v before and %v after", before, after)
	}
	for _, hook := range Hooks() {
		m, err := Start(Options{Hook: hook})
		if err == nil {
			err = m.Close()
		}
		if why, ok := tried[hook]; !ok || (why == nil) != (err == nil) {
			t.Errorf("%s: tried %v, started %v", hook, why, err)
		}
	}
}

func TestTheFirstHookThatWorksIsUsed(t *testing.T) {
	m := start(t, Options{})
	var tried []Hook
	for _, failed := range m.FailedHooks() {
		tried = append(tried, failed.Hook)
	}
	tried = append(tried, m.Hook())
	if all := Hooks(); len(tried) > len(all) || !slices.Equal(tried, all[:len(tried)]) {
		t.Errorf("tried %v of %v", tried, all)
	}
	if s := snapshot(t, m); s.Hook != m.Hook() {
		t.Errorf("the snapshot names %s, the monitor %s", s.Hook, m.Hook())
	}
}

func TestNoHookErrorWrapsEveryCause(t *testing.T) {
	cause := errors.New("denied")
	err := error(&NoHookError{[]*HookError{{Fexit, errors.New("another")}, {Kprobe, fmt.Errorf("attaching: %w", cause)}}})
	if !errors.Is(err, cause) {
		t.Error("the cause of the second failure is not found")
	}
	if want := "no hook on the kernel's capability check could be attached: fexit: another; kprobe: attaching: denied"; err.Error() != want {
		t.Errorf("got %q, wanted %q", err, want)
	}
}

func TestFailedStartLeavesNothing(t *testing.T) {
	garbage := filepath.Join(t.TempDir(), "garbage")
	if err := os.WriteFile(garbage, []byte("no type information"), 0o600); err != nil {
		t.Fatal(err)
	}
	for name, test := range map[string]struct {
		options Options
		is      func(error) bool
	}{
		"missing BTF": {Options{BTF: filepath.Join(t.TempDir(), "missing")}, isNoBTF},
		"garbage BTF": {Options{BTF: garbage}, isNoBTF},
		"empty BTF":   {Options{BTF: os.DevNull}, isNoBTF},
		"maps that no kernel makes": {Options{MaxChecks: 1 << 31}, func(err error) bool {
			var none *NoHookError
			return errors.As(err, &none) && len(none.Tried) == len(Hooks())
		}},
	} {
		t.Run(name, func(t *testing.T) {
			before := openBPFObjects(t)
			m, err := Start(test.options)
			if err == nil {
				t.Error(m.Close())
			}
			if !test.is(err) {
				t.Errorf("got %v", err)
			}
			if after := openBPFObjects(t); !reflect.DeepEqual(after, before) {
				t.Errorf("held %v before and %v after", before, after)
			}
		})
	}
}

func isNoBTF(err error) bool { return errors.Is(err, kernel.ErrNoBTF) }

// startWithoutRights returns an error unless Start reports that rights are missing.
func startWithoutRights() error {
	m, err := Start(Options{})
	if err == nil {
		return errors.Join(errors.New("it started"), m.Close())
	}
	var none *NoHookError
	if !errors.As(err, &none) || !errors.Is(err, os.ErrPermission) {
		return fmt.Errorf("not a lack of rights: %w", err)
	}
	return nil
}

func TestStartWithoutRightsFailsWithErrPermission(t *testing.T) {
	cmd := helper(t, "start")
	cmd.SysProcAttr = &syscall.SysProcAttr{
		Credential:  &syscall.Credential{Uid: 65534, Gid: 65534},
		AmbientCaps: []uintptr{unix.CAP_SYSLOG}, // without CAP_SYSLOG, Start fails earlier because the symbols are hidden
	}
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Errorf("%v\n%s", err, out)
	}
}

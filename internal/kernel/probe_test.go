package kernel

import (
	"errors"
	"os"
	"path/filepath"
	"testing"

	"github.com/cilium/ebpf/btf"
)

func TestLoadBTF(t *testing.T) {
	dir := t.TempDir()
	garbage := filepath.Join(dir, "garbage")
	if err := os.WriteFile(garbage, []byte("not BTF"), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, path := range []string{filepath.Join(dir, "missing"), garbage} {
		if _, err := LoadBTF(path); !errors.Is(err, ErrNoBTF) {
			t.Errorf("%s: %v, want ErrNoBTF", path, err)
		}
	}
}

func TestFeaturesInBTF(t *testing.T) {
	void := (*btf.Void)(nil)
	function := &btf.Func{Name: "cap_capable", Type: &btf.FuncProto{Return: void}, Linkage: btf.GlobalFunc}
	tracepoint := &btf.Typedef{Name: "btf_trace_cap_capable", Type: &btf.Pointer{Target: function.Type}}
	for _, test := range []struct {
		about           string
		types           []btf.Type
		function, point bool
	}{
		{"6.14", []btf.Type{function, tracepoint}, true, true},
		{"6.1", []btf.Type{function}, true, false},
		{"no functions described", []btf.Type{tracepoint}, false, true},
		{"a structure of that name", []btf.Type{&btf.Struct{Name: "cap_capable"}}, false, false},
	} {
		spec := describe(t, test.types)
		if got := HasFunction(spec, "cap_capable"); got != test.function {
			t.Errorf("%s: function %v, want %v", test.about, got, test.function)
		}
		if got := HasTracepoint(spec, "cap_capable"); got != test.point {
			t.Errorf("%s: tracepoint %v, want %v", test.about, got, test.point)
		}
	}
}

// describe writes type information to a file and loads it like the kernel's.
func describe(t *testing.T, types []btf.Type) *btf.Spec {
	t.Helper()
	builder, err := btf.NewBuilder(types)
	if err != nil {
		t.Fatal(err)
	}
	data, err := builder.Marshal(nil, nil)
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(t.TempDir(), "vmlinux")
	if err := os.WriteFile(path, data, 0o600); err != nil {
		t.Fatal(err)
	}
	spec, err := LoadBTF(path)
	if err != nil {
		t.Fatal(err)
	}
	return spec
}

// Every kernel since 6.14 has the tracepoint. If HasTracepoint does not find it there, HasTracepoint is wrong.
func TestCapTracepointOfThisKernel(t *testing.T) {
	spec, err := LoadBTF("")
	if errors.Is(err, ErrNoBTF) {
		t.Fatal(err)
	}
	if err != nil {
		t.Fatal(err)
	}
	release, err := Release()
	if err != nil {
		t.Fatal(err)
	}
	v, err := ParseRelease(release)
	if err != nil {
		t.Fatal(err)
	}
	if !v.Before(Version{6, 14}) && !HasTracepoint(spec, "cap_capable") {
		t.Errorf("kernel %s without capability:cap_capable", release)
	}
	if !HasFunction(spec, "cap_capable") {
		t.Error("cap_capable is not described")
	}
}

func TestHasKprobes(t *testing.T) {
	for _, file := range []string{"bus/event_source/devices/kprobe/type", "kernel/tracing/kprobe_events"} {
		if sys := write(t, file, ""); !hasKprobes(sys) {
			t.Errorf("%s does not count", file)
		}
	}
	if sys := write(t, "bus/event_source/devices/uprobe/type", ""); hasKprobes(sys) {
		t.Error("uprobes were accepted as kprobes")
	}
}

// write makes a temporary directory with one file.
func write(t *testing.T, file, text string) (dir string) {
	t.Helper()
	dir = t.TempDir()
	path := filepath.Join(dir, file)
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return dir
}

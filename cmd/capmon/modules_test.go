package main

import (
	"os"
	"testing"
)

// The kernel checks the capability only if it has not loaded the module yet. The list must also work on a host that has
// not.
func TestModulesOnDemandNeedACapability(t *testing.T) {
	t.Parallel()
	if !inGuest() {
		t.Skip("only in a guest: it loads modules into the machine's kernel")
	}
	const file = "/proc/sys/net/ipv4/tcp_congestion_control"
	before, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.WriteFile(file, before, 0) })
	// Other network namespaces may set only a few algorithms without NET_ADMIN on the host.
	setting := func(algorithm string) workload {
		return workload{
			options:  []string{"--security-opt=systempaths=unconfined", "--network=host"},
			command:  sh("echo " + algorithm + " > " + file),
			required: caps("NET_ADMIN"), unsure: caps("NET_ADMIN"),
		}
	}
	// A module stays loaded, so each run uses another one.
	w := setting("vegas")
	r := execute(t, append([]string{binary, "profile", "-o", "json", "--"}, w.dockerRun("module", "--cap-add=NET_ADMIN")...)...)
	if r.code != 0 {
		t.Fatalf("exit code %d: %s", r.code, r.stderr)
	}
	got := only(t, parseReport(t, r), "module")
	w.check(t, got)
	mustExecute(t, setting("veno").dockerRun("module", got.Flags...)...)
	if r := execute(t, setting("hybla").dockerRun("module", "--cap-drop=ALL")...); r.code == 0 {
		t.Error("a module was loaded without a capability")
	}
}

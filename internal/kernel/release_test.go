package kernel

import (
	"errors"
	"os"
	"strings"
	"testing"
)

func TestCheckRelease(t *testing.T) {
	for release, want := range map[string]error{
		"5.15.0-91-generic":                   nil,
		"5.15":                                nil,
		"6.1.0-18-amd64":                      nil,
		"6.18.44":                             nil,
		"7.0.0-rc1":                           nil,
		"10.2.1":                              nil,
		"5.14.21":                             ErrTooOld,
		"5.4.0-150-generic":                   ErrTooOld,
		"4.18.0-513.el8.x86_64":               ErrTooOld,
		"5.10.16.3-microsoft-standard-WSL2+x": ErrTooOld,
	} {
		if err := CheckRelease(release); !errors.Is(err, want) || (err == nil) != (want == nil) {
			t.Errorf("%s: %v, want %v", release, err, want)
		}
	}
	for _, release := range []string{"", "six", "6", "v6.1"} {
		if err := CheckRelease(release); err == nil || errors.Is(err, ErrTooOld) {
			t.Errorf("%q: %v, want another error", release, err)
		}
	}
}

func TestErrTooOldNamesTheMinimum(t *testing.T) {
	const want = "kernel 5.4.0 is too old: 5.15 or later is needed"
	if err := CheckRelease("5.4.0"); err == nil || err.Error() != want {
		t.Errorf("%v, want %s", err, want)
	}
}

func TestReadmeStatesTheMinimum(t *testing.T) {
	readme, err := os.ReadFile("../../README.md")
	if err != nil {
		t.Fatal(err)
	}
	if want := "| kernel | " + MinimumVersion.String() + " or later "; !strings.Contains(string(readme), want) {
		t.Errorf("README.md has no %q", want)
	}
}

package monitor

import (
	"crypto/rand"
	"encoding/hex"
	"errors"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/capmon/capmon/internal/containerid"
	"github.com/capmon/capmon/internal/containerid/containeridtest"
	"github.com/capmon/capmon/internal/kernel"
	"github.com/capmon/capmon/internal/testutil"
)

// checkInCgroup moves this process to the cgroup in a directory, and makes a check.
func checkInCgroup(directory string) error {
	if err := os.WriteFile(filepath.Join(directory, "cgroup.procs"), []byte("0"), 0); err != nil {
		return err
	}
	return setuidCall()
}

func randomID() string {
	id := make([]byte, 32)
	_, _ = rand.Read(id)
	return hex.EncodeToString(id)
}

// cgroupTree is a cgroup that a test makes in the hierarchy that identifies containers. It is removed with all cgroups
// below it at the end of the test.
type cgroupTree struct {
	t       *testing.T
	cgroups kernel.Cgroups
	top     string
}

func newCgroupTree(t *testing.T) cgroupTree {
	t.Helper()
	return newNamedCgroupTree(t, "")
}

// newNamedCgroupTree makes a tree whose top has a certain name.
func newNamedCgroupTree(t *testing.T, name string) cgroupTree {
	t.Helper()
	cgroups, err := kernel.DetectCgroups()
	if err != nil {
		t.Fatal(err)
	}
	tree := cgroupTree{t, cgroups, "/capmon-test-" + strings.ToLower(rand.Text())}
	tree.make(tree.top)
	if name != "" {
		tree.top = path.Join(tree.top, name)
		tree.make(tree.top)
	}
	return tree
}

// make makes a cgroup unless it exists.
func (tree cgroupTree) make(cgroup string) {
	tree.t.Helper()
	directory := path.Join(tree.cgroups.Mount, cgroup)
	err := os.Mkdir(directory, 0o755)
	if errors.Is(err, os.ErrExist) {
		return
	}
	if err != nil {
		tree.t.Fatal(err)
	}
	tree.t.Cleanup(func() {
		testutil.Eventually(tree.t, "cgroup "+cgroup+" can be removed", func() bool {
			err := os.Remove(directory)
			return err == nil || errors.Is(err, os.ErrNotExist)
		})
	})
}

// check makes cgroups with these names, each in the previous one, and makes a check in the innermost. It returns all of
// them, beginning with the top of the tree.
func (tree cgroupTree) check(names ...string) []string {
	tree.t.Helper()
	cgroups := []string{tree.top}
	for _, name := range names {
		next := path.Join(cgroups[len(cgroups)-1], name)
		tree.make(next)
		cgroups = append(cgroups, next)
	}
	innermost := cgroups[len(cgroups)-1]
	cmd := helper(tree.t, "check-in-cgroup", path.Join(tree.cgroups.Mount, innermost))
	if out, err := cmd.CombinedOutput(); err != nil {
		tree.t.Fatalf("making a check in %s: %v\n%s", innermost, err, out)
	}
	return cgroups
}

// recorded returns the cgroups that the monitor recorded as containers.
func (tree cgroupTree) recorded(m *Monitor, cgroups []string) map[string]ContainerRecord {
	tree.t.Helper()
	containers := make(map[uint64]ContainerRecord)
	for _, c := range snapshot(tree.t, m).Containers {
		containers[c.Cgroup] = c
	}
	recorded := make(map[string]ContainerRecord)
	for _, cgroup := range cgroups {
		id, err := tree.cgroups.ID(cgroup)
		if err != nil {
			tree.t.Fatal(err)
		}
		if c, ok := containers[id]; ok {
			recorded[cgroup] = c
		}
	}
	return recorded
}

func TestKernelAndUserSpaceIdentifyTheSameContainers(t *testing.T) {
	id, inner := randomID(), randomID()
	// scope returns a container's name with n bytes.
	scope := func(n int) string {
		rest := "-" + id + ".scope"
		return strings.Repeat("e", n-len(rest)) + rest
	}
	const none = -1
	m := start(t, Options{})
	tree := newCgroupTree(t)
	type testCase struct {
		names []string
		want  int // index of the container's name
	}
	tests := map[string]testCase{
		"an ID":                        {[]string{id}, 0},
		"any engine's scope":           {[]string{"x-" + id + ".scope"}, 0},
		"an engine with dashes only":   {[]string{"--" + id + ".scope"}, 0},
		"an engine that is no text":    {[]string{"\xff\xfe-" + id + ".scope"}, 0},
		"an engine named like conmon":  {[]string{"my-cocoon-" + id + ".scope"}, 0},
		"an engine ending in conmon":   {[]string{"xconmon-" + id + ".scope"}, none},
		"a monitor alone":              {[]string{"conmon-" + id + ".scope"}, none},
		"63 digits":                    {[]string{id[1:]}, none},
		"65 digits":                    {[]string{id + "0"}, none},
		"63 digits in a scope":         {[]string{"docker-" + id[1:] + ".scope"}, none},
		"65 digits in a scope":         {[]string{"docker-" + id + "0.scope"}, none},
		"upper case":                   {[]string{strings.ToUpper(id)}, none},
		"upper case in a scope":        {[]string{"docker-" + strings.ToUpper(id) + ".scope"}, none},
		"a letter that is no digit":    {[]string{id[:63] + "g"}, none},
		"a dot among the digits":       {[]string{id[:63] + "."}, none},
		"a scope without an engine":    {[]string{id + ".scope"}, none},
		"a scope with an empty engine": {[]string{"-" + id + ".scope"}, none},
		"an engine without a dash":     {[]string{"docker_" + id + ".scope"}, none},
		"an engine without a scope":    {[]string{"docker-" + id}, none},
		"a slice":                      {[]string{"docker-" + id + ".slice"}, none},
		"a service":                    {[]string{"docker-" + id + ".service"}, none},
		"a suffix behind the scope":    {[]string{"docker-" + id + ".scope.d"}, none},
		"no container's name":          {[]string{"user.slice", "session-1.scope"}, none},

		"below other cgroups":                          {[]string{"system.slice", "docker-" + id + ".scope"}, 1},
		"with cgroups below":                           {[]string{id, "init", "system.slice"}, 0},
		"a container in a container":                   {[]string{id, inner}, 0},
		"scopes in a container":                        {[]string{id, "init.scope", "docker-" + inner + ".scope"}, 0},
		"a container in a scope":                       {[]string{"libpod-" + id + ".scope", "container", inner}, 0},
		"a container beside its monitor":               {[]string{"libpod-conmon-" + inner + ".scope", id}, 1},
		"a container below a cgroup that is none":      {[]string{id + ".scope", inner}, 1},
		"the longest name":                             {[]string{scope(126)}, 0},
		"one byte too long":                            {[]string{scope(127)}, none},
		"two bytes too long":                           {[]string{scope(128)}, none},
		"too long but fitting when cut":                {[]string{scope(127) + "x"}, none},
		"much too long but fitting when cut":           {[]string{scope(127) + strings.Repeat("x", 128)}, none},
		"a container in a cgroup with a too long name": {[]string{scope(127), inner}, 1},
		"as deep as can be followed":                   {append([]string{id}, below(maxDepth-1)...), 0},
		"deep and last":                                {append(below(maxDepth-1), id), maxDepth - 1},
	}
	for _, form := range containeridtest.PathForms(id, inner) {
		names := strings.Split(strings.TrimPrefix(form.Path, "/"), "/")
		tests["form: "+form.About] = testCase{names, slices.Index(names, path.Base(form.Container))} // none without a container
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			tree := cgroupTree{t, tree.cgroups, path.Join(tree.top, strings.ToLower(rand.Text()))}
			tree.make(tree.top)
			cgroups := tree.check(test.names...)
			recorded := tree.recorded(m, cgroups)
			innermost := cgroups[len(cgroups)-1]
			inUserSpace, ok := containerid.FromCgroup(innermost)
			if test.want == none {
				if len(recorded) > 0 {
					t.Errorf("the programs recorded a container: %v", recorded)
				}
				if ok {
					t.Errorf("user space identified container %s", inUserSpace)
				}
				return
			}
			topmost := cgroups[test.want+1]
			c, found := recorded[topmost]
			if !found || len(recorded) != 1 {
				t.Errorf("the programs did not record exactly %s as a container, but %v", topmost, recorded)
			}
			if got := total(matching(c, setuidZero)); got != 1 {
				t.Errorf("recorded %d of 1 check", got)
			}
			if wanted, _ := containerid.FromCgroup(topmost); !ok || wanted != inUserSpace || found && c.ID != wanted {
				t.Errorf("user space found %q, the programs %q, wanted %q", inUserSpace, c.ID, wanted)
			}
		})
	}
	lossless(t, snapshot(t, m))
}

// A cgroup with the form of a pod of Podman is a container if it has had a process of its own. The cgroups that it
// makes do not change that.
func TestContainersCannotPassForPods(t *testing.T) {
	m := start(t, Options{})
	tree := newNamedCgroupTree(t, "libpod_parent")
	pod, member, container, fake := randomID(), "libpod-"+randomID(), randomID(), "libpod-"+randomID()
	cgroups := slices.Concat(tree.check(pod, member), tree.check(container), tree.check(container, fake))
	recorded := tree.recorded(m, cgroups)
	for cgroup, want := range map[string]bool{
		path.Join(tree.top, pod): false, path.Join(tree.top, pod, member): true,
		path.Join(tree.top, container): true, path.Join(tree.top, container, fake): false,
	} {
		if _, ok := recorded[cgroup]; ok != want {
			t.Errorf("%s is recorded as a container: %v, want %v", cgroup, ok, want)
		}
	}
}

// The programs also use the cached result for a cgroup when they find the container of a cgroup below it.
func TestKnownCgroupsDoNotChangeTheContainer(t *testing.T) {
	m := start(t, Options{})
	tree := newCgroupTree(t)
	id := randomID()
	names := []string{"slice", id, "below", randomID(), "deeper"}
	var cgroups []string
	for depth := range names {
		cgroups = tree.check(names[:depth+1]...)
	}
	recorded := tree.recorded(m, cgroups)
	c, found := recorded[path.Join(tree.top, "slice", id)]
	if !found || len(recorded) != 1 {
		t.Fatalf("recorded %v", recorded)
	}
	if got := total(matching(c, setuidZero)); c.ID != id || got != 4 {
		t.Errorf("container %s made %d checks, wanted 4 of %s", c.ID, got, id)
	}
}

// below returns names of n nested cgroups that are not containers.
func below(n int) []string { return strings.Split(strings.Repeat("d/", n-1)+"d", "/") }

// maxDepth is the largest depth of cgroups below the cgroup of a test case: CGROUP_DEPTH of bpf/cgroup.h, minus the
// root, the test's cgroup and the test case's cgroup.
const maxDepth = 64 - 3

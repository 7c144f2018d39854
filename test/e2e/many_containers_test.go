package e2e

import (
	"fmt"
	"slices"
	"strings"
	"testing"
)

// crowd is the number of containers that run at the same time.
const crowd = 50

func TestManyContainersAreReportedExactly(t *testing.T) {
	t.Parallel()
	var script strings.Builder
	members := make(map[string]workload)
	for i := range crowd {
		w := workloads[i%len(workloads)]
		name := fmt.Sprintf("crowd-%d-%s", i, w.name)
		members[name] = w
		fmt.Fprintf(&script, "%s >/dev/null 2>&1 & pids=\"$pids $!\"\n", quoted(w.dockerRun(name, w.grants...)))
	}
	script.WriteString("for pid in $pids; do wait $pid || exit 1; done\n")

	// The map of checks has less room than usual, so capmon has to free room for some containers while others run.
	r := execute(t, binary, "profile", "-o", "json", "--log-level=debug", "--max-checks=16384", "--", "sh", "-c", script.String())
	if r.code != 0 {
		t.Fatalf("exit code %d: %s", r.code, r.stderr)
	}
	if !strings.Contains(r.stderr, "made room for other containers") {
		t.Errorf("no room was freed while containers ran: %s", r.stderr)
	}
	got := parseReport(t, r)
	if len(got) != crowd {
		t.Errorf("%d containers are reported, wanted %d", len(got), crowd)
	}
	for name, w := range members {
		t.Run(name, func(t *testing.T) { w.check(t, only(t, got, name)) })
	}
}

// quoted returns a command line for a shell.
func quoted(command []string) string {
	var words []string
	for _, word := range command {
		words = append(words, "'"+strings.ReplaceAll(word, "'", `'\''`)+"'")
	}
	return strings.Join(words, " ")
}

// capmon's command starts only the containers of the script. The script starts the others directly at the engine,
// without capmon's proxy, as another user of the engine would.
func TestContainersOfOthersAreLeftOut(t *testing.T) {
	t.Parallel()
	const script = "docker run --rm --name mine --label team=edge bb true && " +
		"docker run --rm --name mine-too bb true && " +
		"env -u DOCKER_HOST docker -H $OTHERS run --rm --name theirs --label team=edge bb true"
	for _, test := range []struct {
		name  string
		flags []string
		want  []string
	}{
		{"none", nil, []string{"mine", "mine-too"}},
		{"all", []string{"--all-containers", "--container", "mine*", "--container", "theirs"}, []string{"mine", "mine-too", "theirs"}},
		{"by name", []string{"--container", "mine-*"}, []string{"mine-too"}},
		{"by label", []string{"--label", "team=edge"}, []string{"mine"}},
		{"by label, among all", []string{"--label", "team", "--all-containers"}, []string{"mine", "theirs"}},
		{"by image", []string{"--image", "bb"}, []string{"mine", "mine-too"}},
		{"by another image", []string{"--image", "nginx"}, nil},
	} {
		t.Run(test.name, func(t *testing.T) {
			args := slices.Concat([]string{binary, "profile", "-o", "json"}, test.flags, []string{"--", "sh", "-c", script})
			r := execute(t, args...)
			if test.want == nil {
				if r.code != exitUsage || r.stdout != "" {
					t.Errorf("exit code %d: %s%s", r.code, r.stdout, r.stderr)
				}
				return
			}
			if r.code != 0 {
				t.Fatalf("exit code %d: %s", r.code, r.stderr)
			}
			var names []string
			for _, c := range parseReport(t, r) {
				names = append(names, c.Name)
			}
			slices.Sort(names)
			if !slices.Equal(names, test.want) {
				t.Errorf("got %v, wanted %v", names, test.want)
			}
			if reported := strings.Contains(r.stderr, "left out because others started them"); reported == slices.Contains(test.want, "theirs") {
				t.Errorf("stderr reports the containers that were left out: %v\n%s", reported, r.stderr)
			}
		})
	}
}

// capmon does not hold up these containers until it knows them, and they end at once.
func TestManyContainersOfOthersHaveNames(t *testing.T) {
	t.Parallel()
	const others = 20
	script := fmt.Sprintf(`for i in $(seq %d); do
		env -u DOCKER_HOST docker -H $OTHERS run --rm --name other-$i bb chroot / true & pids="$pids $!"
	done
	for pid in $pids; do wait $pid || exit 1; done`, others)
	r := execute(t, binary, "profile", "-o", "json", "--all-containers", "--container", "other-*", "--", "sh", "-c", script)
	if r.code != 0 {
		t.Fatalf("exit code %d: %s", r.code, r.stderr)
	}
	got := parseReport(t, r)
	for i := range others {
		workload{required: caps("SYS_CHROOT")}.check(t, only(t, got, fmt.Sprint("other-", i+1)))
	}
}

// A container that its restart policy restarts has a new cgroup each time.
func TestRestartsAddUp(t *testing.T) {
	t.Parallel()
	const script = `docker run -d --name restarted-by-policy --restart=on-failure:2 bb sh -c 'f=$(mktemp); chown 5 $f; exit 1'
		until [ "$(docker inspect -f '{{.RestartCount}} {{.State.Status}}' restarted-by-policy)" = '2 exited' ]; do :; done
		docker rm restarted-by-policy`
	got := only(t, parseReport(t, execute(t, binary, "profile", "-o", "json", "--", "sh", "-ec", script)), "restarted-by-policy")
	if got.Runs != 3 || got.Processes < 9 {
		t.Errorf("got %d runs and %d processes, wanted 3 and 9 or more", got.Runs, got.Processes)
	}
	w := workload{required: caps("CHOWN")}
	w.check(t, got)
}

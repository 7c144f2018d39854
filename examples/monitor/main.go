// This program records the capability checks of all containers for some seconds, and prints for each container how
// often the kernel granted and denied each capability. It requires the same rights as capmon.
//
//	go build -o /tmp/capabilities . && sudo /tmp/capabilities -for 10s
package main

import (
	"flag"
	"fmt"
	"log"
	"maps"
	"os"
	"slices"
	"text/tabwriter"
	"time"

	"github.com/capmon/capmon/capability"
	"github.com/capmon/capmon/monitor"
)

func main() {
	duration := flag.Duration("for", 10*time.Second, "how long to record")
	flag.Parse()
	snapshot, err := record(*duration)
	if err != nil {
		log.Fatal(err)
	}
	if err := write(snapshot); err != nil {
		log.Fatal(err)
	}
}

// record returns everything that the kernel records within the duration. Close ends the recording.
func record(duration time.Duration) (monitor.Snapshot, error) {
	m, err := monitor.Start(monitor.Options{})
	if err != nil {
		return monitor.Snapshot{}, err
	}
	defer m.Close()
	time.Sleep(duration)
	return m.Snapshot()
}

// counts has the numbers of granted and denied checks for a capability.
type counts struct{ granted, denied uint64 }

// count returns the numbers of a container's checks by capability. It leaves out the checks of the runtime setup, which
// the container runtime makes while it prepares the container.
func count(container monitor.ContainerRecord) map[capability.Capability]counts {
	all := make(map[capability.Capability]counts)
	for _, check := range container.Checks {
		if check.Phase != monitor.Workload {
			continue
		}
		c := all[check.Capability]
		if check.Answer.Granted() {
			c.granted += check.Count
		} else {
			c.denied += check.Count
		}
		all[check.Capability] = c
	}
	return all
}

func write(snapshot monitor.Snapshot) error {
	table := tabwriter.NewWriter(os.Stdout, 0, 0, 2, ' ', 0)
	fmt.Fprintln(table, "CONTAINER\tCAPABILITY\tGRANTED\tDENIED")
	for _, container := range snapshot.Containers {
		checks := count(container)
		for _, c := range slices.Sorted(maps.Keys(checks)) {
			fmt.Fprintf(table, "%.12s\t%s\t%d\t%d\n", container.ID, c, checks[c].granted, checks[c].denied)
		}
	}
	if snapshot.Losses.Any() {
		fmt.Fprintf(os.Stderr, "the table is incomplete: %+v\n", snapshot.Losses)
	}
	return table.Flush()
}

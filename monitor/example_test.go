package monitor_test

import (
	"context"
	"errors"
	"fmt"
	"log"
	"time"

	"golang.org/x/sys/unix"

	"github.com/capmon/capmon/monitor"
)

// Record for a minute, and print the checks of each container's workload that the kernel granted.
func ExampleStart() {
	m, err := monitor.Start(monitor.Options{})
	if err != nil {
		log.Fatal(err)
	}
	defer m.Close()
	time.Sleep(time.Minute)
	snapshot, err := m.Snapshot()
	if err != nil {
		log.Fatal(err)
	}
	for _, container := range snapshot.Containers {
		for _, check := range container.Checks {
			if check.Answer.Granted() && check.Phase == monitor.Workload {
				fmt.Println(container.ID, check.Capability, check.Program, check.Count)
			}
		}
	}
	if snapshot.Losses.Any() {
		fmt.Printf("incomplete: %+v\n", snapshot.Losses)
	}
}

// Print the first check of each kind, until another goroutine calls Close.
func ExampleMonitor_Next() {
	m, err := monitor.Start(monitor.Options{})
	if err != nil {
		log.Fatal(err)
	}
	for {
		event, err := m.Next()
		if errors.Is(err, monitor.ErrClosed) {
			return
		}
		if err != nil {
			log.Fatal(err)
		}
		if event.Check == nil {
			continue // a new container, an execution or a file
		}
		details, err := m.Details(event.Check)
		if err != nil {
			log.Fatal(err)
		}
		if details != nil { // nil for runtime setup
			fmt.Println(event.ID, details.Capability, details.Program, details.Stack)
		}
	}
}

// Make room in the maps by saving containers that have ended. Next has to run in another goroutine: CollectionDue
// depends on it.
func ExampleMonitor_SaveEnded() {
	m, err := monitor.Start(monitor.Options{PinDirectory: "/sys/fs/bpf/example"})
	if err != nil {
		log.Fatal(err)
	}
	defer m.Close()
	save := func(ended monitor.Snapshot) error {
		for _, container := range ended.Containers {
			fmt.Println(container.ID, container.ChecksMade) // or write it to a database
		}
		return nil
	}
	everyContainer := func(uint64, string) bool { return true }
	for range m.CollectionDue() {
		if err := m.SaveEnded(everyContainer, save); err != nil {
			log.Print(err) // the data is still in the maps
		}
	}
}

// Print every second how many checks workloads made.
func ExampleDeltaReader_Read() {
	m, err := monitor.Start(monitor.Options{})
	if err != nil {
		log.Fatal(err)
	}
	defer m.Close()
	reader := m.NewDeltaReader()
	for range time.Tick(time.Second) {
		deltas, err := reader.Read()
		if err != nil {
			log.Fatal(err)
		}
		for _, delta := range deltas {
			fmt.Println(delta.ID, delta.Now.Capability, delta.Now.Count-delta.Before.Count)
		}
	}
}

// Explain why no hook works.
func ExampleNoHookError() {
	_, err := monitor.Start(monitor.Options{Hook: monitor.Tracepoint})
	var none *monitor.NoHookError
	if errors.As(err, &none) {
		for _, tried := range none.Tried {
			fmt.Printf("hook %s: %v\n", tried.Hook, tried.Err)
		}
	}
}

// Record the unshare calls of workloads, and print which of them unshare the user namespace.
func ExampleMonitor_SelectSeccompCalls() {
	m, err := monitor.Start(monitor.Options{})
	if err != nil {
		log.Fatal(err)
	}
	defer m.Close()
	unshare := monitor.SeccompCallSelector{Name: "unshare", Masks: [6]uint64{unix.CLONE_NEWUSER}}
	if err := m.SelectSeccompCalls([]monitor.SeccompCallSelector{unshare}); err != nil {
		log.Fatal(err)
	}
	time.Sleep(time.Minute)
	snapshot, err := m.Snapshot()
	if err != nil {
		log.Fatal(err)
	}
	for _, container := range snapshot.Containers {
		for _, call := range container.SeccompCalls {
			fmt.Println(container.ID, call.Program, call.Count, call.Call.Args[0] == unix.CLONE_NEWUSER)
		}
	}
}

// Print the processes of running containers that have an open raw socket.
func ExampleMonitor_SocketHolders() {
	m, err := monitor.Start(monitor.Options{})
	if err != nil {
		log.Fatal(err)
	}
	defer m.Close()
	isRaw := func(s monitor.Socket) bool { return s.Type == unix.SOCK_RAW }
	err = m.SocketHolders(context.Background(), isRaw, func(holder monitor.SocketHolder) {
		fmt.Println(holder.ID, holder.PID, holder.Program, len(holder.Sockets))
	})
	if err != nil {
		log.Print(err) // about the processes that could not be inspected
	}
}

func ExampleParseHook() {
	hook, err := monitor.ParseHook("fexit")
	fmt.Println(hook, err)
	_, err = monitor.ParseHook("kretprobe")
	fmt.Println(err)
}

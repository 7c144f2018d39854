package main

import (
	"bufio"
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"
)

// process is one whose use of the machine is measured.
type process int

// tick is the unit of the times in /proc: USER_HZ, 100 a second on all of Linux's
// architectures that capmon is for.
const tick = 10 * time.Millisecond

// cpu is how long it has run until now, the kernel's work for it included.
func (p process) cpu() (time.Duration, error) {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", p))
	if err != nil {
		return 0, err
	}
	// The name, in parentheses, may have anything in it.
	fields := strings.Fields(string(text[bytes.LastIndexByte(text, ')')+1:]))
	const user, system = 11, 12 // fields 14 and 15 of all
	if len(fields) <= system {
		return 0, fmt.Errorf("/proc/%d/stat is not as expected: %s", p, text)
	}
	var ticks int
	for _, field := range []string{fields[user], fields[system]} {
		n, err := strconv.Atoi(field)
		if err != nil {
			return 0, fmt.Errorf("/proc/%d/stat: %w", p, err)
		}
		ticks += n
	}
	return time.Duration(ticks) * tick, nil
}

// resident is how much memory it has now, and how much it had at most, in bytes.
func (p process) resident() (now, most uint64, err error) {
	name := fmt.Sprintf("/proc/%d/status", p)
	values, err := kilobytes(name, "VmRSS:", "VmHWM:")
	if err != nil {
		return 0, 0, err
	}
	return values[0], values[1], nil
}

// maps is the kernel's memory of the eBPF maps that it holds, in bytes.
func (p process) maps() (sum uint64, err error) {
	files, err := filepath.Glob(fmt.Sprintf("/proc/%d/fdinfo/*", p))
	if err != nil {
		return 0, err
	}
	seen := make(map[string]bool)
	for _, file := range files {
		fields, err := fieldsOf(file)
		if err != nil {
			continue // it was closed
		}
		id, memory := fields["map_id:"], fields["memlock:"]
		if id == "" || seen[id] {
			continue
		}
		seen[id] = true
		bytes, err := strconv.ParseUint(memory, 10, 64)
		if err != nil {
			return 0, fmt.Errorf("%s: %w", file, err)
		}
		sum += bytes
	}
	return sum, nil
}

// kilobytes reads some fields of a file of /proc that are in kB, and returns bytes.
func kilobytes(file string, names ...string) ([]uint64, error) {
	fields, err := fieldsOf(file)
	if err != nil {
		return nil, err
	}
	var values []uint64
	for _, name := range names {
		n, err := strconv.ParseUint(fields[name], 10, 64)
		if err != nil {
			return nil, fmt.Errorf("%s: %s %w", file, name, err)
		}
		values = append(values, n*1024)
	}
	return values, nil
}

// fieldsOf reads the first word of each field of a file of /proc.
func fieldsOf(file string) (map[string]string, error) {
	text, err := os.ReadFile(file)
	if err != nil {
		return nil, err
	}
	fields := make(map[string]string)
	for lines := bufio.NewScanner(bytes.NewReader(text)); lines.Scan(); {
		if words := strings.Fields(lines.Text()); len(words) > 1 {
			fields[words[0]] = words[1]
		}
	}
	return fields, nil
}

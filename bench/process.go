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

// process is the ID of a process that is measured.
type process int

// tick is the unit of times in /proc: USER_HZ, 100 per second on all architectures that capmon supports.
const tick = 10 * time.Millisecond

// cpu returns the CPU time of the process so far, including the kernel's work for it.
func (p process) cpu() (time.Duration, error) {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", p))
	if err != nil {
		return 0, err
	}
	// The name is in parentheses and can contain any character.
	fields := strings.Fields(string(text[bytes.LastIndexByte(text, ')')+1:]))
	const user, system = 11, 12 // fields 14 and 15 of the file
	if len(fields) <= system {
		return 0, fmt.Errorf("/proc/%d/stat has an unexpected form: %s", p, text)
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

// resident returns the resident memory now and its peak, in bytes.
func (p process) resident() (now, most uint64, err error) {
	name := fmt.Sprintf("/proc/%d/status", p)
	values, err := kilobytes(name, "VmRSS:", "VmHWM:")
	if err != nil {
		return 0, 0, err
	}
	return values[0], values[1], nil
}

// maps returns the kernel memory of the eBPF maps that the process holds, in bytes.
func (p process) maps() (sum uint64, err error) {
	files, err := filepath.Glob(fmt.Sprintf("/proc/%d/fdinfo/*", p))
	if err != nil {
		return 0, err
	}
	seen := make(map[string]bool)
	for _, file := range files {
		fields, err := fieldsOf(file)
		if err != nil {
			continue // the process has closed it
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

// kilobytes reads fields in kB from a file in /proc, and returns them in bytes.
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

// fieldsOf reads the first word of each field of a file in /proc.
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

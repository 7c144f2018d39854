package profile

import (
	"fmt"
)

// StartSeen reports whether capmon watched the workload of a new container from its first instruction, or whether
// verify has proved that it starts with the list. Otherwise the list may lack what the container needs to start.
func (s Summary) StartSeen() bool { return s.FirstStarts > 0 || s.Proved() }

// StartUnseen returns the reason why the list may lack what the container needs to start; "" if [Summary.StartSeen].
func (s Summary) StartUnseen() string {
	switch {
	case s.StartSeen():
		return ""
	case s.Starts == 0:
		return "capmon did not see its start"
	case s.SeveralBuilds:
		return "capmon saw no start of a new container of this build of its image"
	}
	return "capmon saw only its restarts, which may need less than the start of a new container"
}

// Missing returns the reasons why the container may have used more than was recorded while capmon watched it; none if
// capmon recorded everything.
func (s Summary) Missing() []string {
	var reasons []string
	for _, reason := range s.Incomplete {
		reasons = append(reasons, "incomplete: "+reason)
	}
	if !s.Started {
		reasons = append(reasons, "capmon saw only its runtime setup, not its workload")
	}
	if len(s.Unexamined) > 0 {
		reasons = append(reasons, "capmon could not read in time whether these files carry capabilities: "+Names(s.Unexamined))
	}
	if !s.Unwatched.Empty() {
		reasons = append(reasons, fmt.Sprintf("capmon did not record all system calls that the seccomp profile may allow only with %s",
			s.Unwatched.Text()))
	}
	return reasons
}

// Unwitnessed returns the reasons why the container may have used more while capmon did not watch it; none if capmon
// watched it from its start to its end.
func (s Summary) Unwitnessed() []string {
	var reasons []string
	if s.Existed {
		reasons = append(reasons, "it was running before the observation began")
	}
	if s.Running {
		reasons = append(reasons, "it was still running when the observation ended")
	}
	return reasons
}

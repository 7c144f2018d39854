package profile

import (
	"fmt"
)

// StartSeen reports whether the workload of a new container was watched from its first instruction
// on, or verify has proved that it starts with the list. Otherwise the list may lack what it needs
// to start.
func (s Summary) StartSeen() bool { return s.FirstStarts > 0 || s.Proved() }

// StartUnseen says why the list may lack what it needs to start; "" if that was seen.
func (s Summary) StartUnseen() string {
	switch {
	case s.StartSeen():
		return ""
	case s.Starts == 0:
		return "its start was not seen"
	case s.SeveralBuilds:
		return "no start of a new container of this build of its image was seen"
	}
	return "only restarts of it were seen, which may need less than the start of a new container"
}

// Missing are the reasons why the container may have used more, while it was watched,
// than was recorded; none if all was.
func (s Summary) Missing() []string {
	var reasons []string
	for _, reason := range s.Incomplete {
		reasons = append(reasons, "incomplete: "+reason)
	}
	if !s.Started {
		reasons = append(reasons, "its workload was never seen to start")
	}
	if len(s.Unexamined) > 0 {
		reasons = append(reasons, "gone before it could be read whether the file carries capabilities: "+Names(s.Unexamined))
	}
	if !s.Unwatched.Empty() {
		reasons = append(reasons, fmt.Sprintf("not all system calls were recorded that the seccomp profile may allow only with %s",
			s.Unwatched.Text()))
	}
	return reasons
}

// Unwitnessed are the reasons why it may have used more while it was not watched; none if
// it was watched from its start to its end.
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

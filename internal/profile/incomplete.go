package profile

import "fmt"

// StartSeen reports whether capmon watched the workload of a new container from its first instruction on, or whether
// verify has proved that the container starts with the list. Otherwise the list may lack capabilities that the
// container needs to start.
func (s Summary) StartSeen() bool { return s.FirstStarts > 0 || s.Proved() }

// StartUnseen returns the reason why the list may lack capabilities that the container needs to start; "" if
// [Summary.StartSeen] is true.
func (s Summary) StartUnseen() string {
	switch {
	case s.StartSeen():
		return ""
	case s.Starts == 0:
		return "capmon did not see the start of the container"
	case s.SeveralBuilds:
		return "capmon saw no start of a new container from this build of the image"
	}
	return "capmon saw only restarts of the container, which may need less than the start of a new container"
}

// Missing returns the reasons why the container may have used more than capmon recorded while it watched the container;
// none if capmon recorded everything.
func (s Summary) Missing() []string {
	var reasons []string
	for _, reason := range s.Incomplete {
		reasons = append(reasons, "incomplete: "+reason)
	}
	if !s.Started {
		reasons = append(reasons, "capmon saw only the runtime setup of the container, not its workload")
	}
	if len(s.Unexamined) > 0 {
		reasons = append(reasons, "capmon could not read the file capabilities of these programs in time: "+Names(s.Unexamined))
	}
	if !s.Unwatched.Empty() {
		reasons = append(reasons, fmt.Sprintf("capmon did not record all system calls for which the seccomp profile may require %s",
			s.Unwatched.Text()))
	}
	return append(reasons, s.Invisible()...)
}

// Invisible returns the reasons why the container may need capabilities although capmon cannot see their use; none if
// verify has proved the list. Only a trial can show these needs.
func (s Summary) Invisible() []string {
	if s.Proved() {
		return nil
	}
	var reasons []string
	if programs := s.KeptAll(); len(programs) > 0 {
		reasons = append(reasons, "these programs kept all their capabilities with capset: "+Names(programs)+"; they may fail if one is missing")
	}
	if s.SharesPIDs {
		others, trial := "other containers or the host", ", and verify sees them only if these processes run"
		if s.Container.Kind != "" {
			others, trial = "the host", ""
		}
		reasons = append(reasons, "processes of "+others+" are in its PID namespace: to inspect one of them, the container needs SYS_PTRACE or all "+
			"capabilities in the permitted set of that process, and to change its scheduling, SYS_NICE or the same; capmon does not see every such call"+trial)
	}
	return reasons
}

// Unwitnessed returns the reasons why the container may have used more while capmon did not watch it; none if capmon
// watched it from its start to its end.
func (s Summary) Unwitnessed() []string {
	var reasons []string
	if s.Existed {
		reasons = append(reasons, "the container was running before the observation began")
	}
	if s.Running {
		reasons = append(reasons, "the container was still running when the observation ended")
	}
	return reasons
}

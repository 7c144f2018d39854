package report

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/capmon/capmon/internal/capability"
	"github.com/capmon/capmon/internal/classify"
	"github.com/capmon/capmon/internal/profile"
	"github.com/capmon/capmon/internal/settings"
)

// Cautions lists what a reader must know before relying on a container's list, the
// gravest first, and safe for a terminal.
func Cautions(s profile.Summary) []string {
	makePrintable(&s)
	return cautions(s)
}

// cautions lists what a reader must know before relying on the list, the gravest
// first.
func cautions(s profile.Summary) []string {
	var notes []string
	if s.Container.Unconfirmed != "" {
		notes = append(notes, "no engine says that this is a container: somebody else than root may have made the cgroup "+s.Container.Unconfirmed+" and named it so")
	}
	for _, reason := range s.Incomplete {
		notes = append(notes, "incomplete: "+reason+"; what looks unused may have been used")
	}
	if !s.Started {
		return append(notes, notStarted(s))
	}
	if len(s.Unexamined) > 0 {
		notes = append(notes, "gone before it could be read whether the file carries capabilities, which would be needed: "+profile.Names(s.Unexamined))
	}
	if n := s.Others(); n > 0 {
		notes = append(notes, fmt.Sprintf("it has too many patterns of use to list all process names and arguments: %s listed as by %s", plural(n, "check is", "checks are"), others))
	}
	if s.Unlisted > 0 {
		notes = append(notes, fmt.Sprintf("the files of %s found no room and are not listed", plural(s.Unlisted, "check", "checks")))
	}
	if !s.Unwatched.Empty() {
		notes = append(notes, fmt.Sprintf("the seccomp profile may allow system calls only with %s, and not all of them were recorded: a list without may make them fail", s.Unwatched.Text()))
	}
	if s.Existed {
		notes = append(notes, fmt.Sprintf("it was already running when the observation began: what it used before %s is not known", moment(s.Found)))
	}
	if why := s.StartUnseen(); why != "" {
		notes = append(notes, why+": with this list a new one may not start; "+settings.ShowStart(s))
	}
	if s.Running && !s.Existed {
		notes = append(notes, "it was still running when the observation ended: what it has not done yet is not known")
	}
	if note := outdated(s); note != "" {
		notes = append(notes, note)
	}
	notes = append(notes, untested(s)...)
	if note := emptySet(s); note != "" {
		notes = append(notes, note)
	}
	if s.Grants.Disagree() {
		notes = append(notes, disagreement(s.Grants))
	}
	if s.EngineError != "" {
		notes = append(notes, "the engine could not tell how it is set up, so the grants are the kernel's word: "+s.EngineError)
	}
	return notes
}

// notStarted says what it means that only the set-up of a container was seen.
func notStarted(s profile.Summary) string {
	const note = "its workload was never seen to start"
	var lacking capability.Set
	for _, use := range s.Uses {
		if use.Class == classify.Denied && use.Site == classify.ExecveSite {
			lacking = lacking.With(use.Capability)
		}
	}
	if lacking.Empty() {
		return note + ", so nothing is known of its needs"
	}
	return fmt.Sprintf("%s: its program's file capabilities require %s. What else it needs is not known", note, lacking.Text())
}

// moment is a time as a reader of a table wants it.
func moment(t time.Time) string { return t.Format("2006-01-02 15:04:05 MST") }

// untested are doubts that only a proof dispels.
func untested(s profile.Summary) []string {
	if s.Proved() {
		return nil
	}
	var notes []string
	if s.Failed != nil && s.Denied().Empty() {
		notes = append(notes, failedUndenied(s))
	}
	if programs := s.KeptAll(); len(programs) > 0 {
		notes = append(notes, "kept all its capabilities by capset: "+profile.Names(programs)+"; a program that insists on one of them may fail with this list, and capmon cannot see which: run capmon verify")
	}
	if s.SharesPIDs {
		notes = append(notes, "shares its pid namespace with other containers or the host: to look into a process there it needs all capabilities that the process "+
			"is permitted, or SYS_PTRACE (SYS_NICE to change its scheduling), and capmon does not see every such call: run capmon verify while the others run")
	}
	notes = append(notes, listedToBeSafe(s)...)
	for _, c := range s.Needs().Sorted() {
		if !c.Named() { // nor can it be tried
			notes = append(notes, fmt.Sprintf("capability %s is newer than this capmon, which has no name for it: engines take names only", c))
		}
		if narrower, ok := s.Advised(c); ok {
			notes = append(notes, fmt.Sprintf("%s would do instead of %s, and gives less: --cap-add=%s", narrower, c, narrower))
		}
	}
	if set := sysctls(s); !set.Empty() {
		notes = append(notes, fmt.Sprintf("it writes sysctls, for which the kernel asks for %s: without --privileged /proc/sys is read-only whatever is granted. "+
			"Set those of the container's own namespaces with --sysctl=NAME=VALUE, others on the host", set.Text()))
	}
	return notes
}

// failedUndenied says why a container may have failed although the kernel denied no check.
func failedUndenied(s profile.Summary) string {
	switch {
	case len(s.Readers) > 0:
		return fmt.Sprintf("the container ended with exit status %d, although the kernel denied no check. These programs read their own capabilities "+
			"(capget, PR_CAPBSET_READ) and may have given up because one is missing: %s. To find out, run the container with --cap-add=ALL", *s.Failed, profile.Names(s.Readers))
	case s.LimitsSeen: // then capmon would have seen capget as well
		return fmt.Sprintf("the container ended with exit status %d, although the kernel denied no check: a program may read its own capabilities "+
			"(/proc/self/status) and give up, or the seccomp profile may refuse a system call; neither makes a check", *s.Failed)
	}
	return fmt.Sprintf("the container ended with exit status %d, although the kernel denied no check: a program may read its own capabilities "+
		"(capget, /proc/self/status, PR_CAPBSET_READ) and give up, or the seccomp profile may refuse a system call; neither makes a check", *s.Failed)
}

// listedToBeSafe says why the list has capabilities that may not be needed, in one note for all that share a reason.
func listedToBeSafe(s profile.Summary) []string {
	var reasons []string
	sets := make(map[string]capability.Set)
	for _, c := range s.Unsure().Sorted() {
		reason := s.Doubt(c)
		if sets[reason].Empty() {
			reasons = append(reasons, reason)
		}
		sets[reason] = sets[reason].With(c)
	}
	var notes []string
	for _, reason := range reasons {
		format := "%s is listed to be safe but may not be needed: %s"
		if sets[reason].Len() > 1 {
			format = "%s are listed to be safe but may not be needed: %s"
		}
		notes = append(notes, fmt.Sprintf(format, sets[reason].Text(), reason))
	}
	return notes
}

// emptySet says what it means that the workload began without any capability. Of one that was
// running already that is not known: it may have begun as root, and given all up.
func emptySet(s profile.Summary) string {
	if s.Existed || s.Grants.Permitted == nil || !s.Grants.Permitted.Empty() || s.Grants.Kernel == nil || s.Grants.Kernel.Empty() {
		return ""
	}
	note := fmt.Sprintf("runs as user %d with an empty effective set", s.Users[0])
	if s.Needs().Empty() {
		return note + ": all granted capabilities can go"
	}
	var unlocking, withheld, gained capability.Set
	for _, c := range s.Needs().Sorted() {
		switch uses := s.Of(c, classify.Needs()...); {
		case len(uses) > 0 && !slices.ContainsFunc(uses, func(u profile.Use) bool { return u.Site != classify.Unlocked.Site }):
			unlocking = unlocking.With(c)
		case s.Grants.Kernel.Has(c) && notGiven(uses, s.Of(c, classify.Denied)):
			withheld = withheld.With(c)
		default:
			gained = gained.With(c)
		}
	}
	var parts []string
	if !unlocking.Empty() {
		parts = append(parts, fmt.Sprintf("the seccomp profile allows system calls only with %s, and the kernel did not ask for it", unlocking.Text()))
	}
	if !withheld.Empty() {
		part := fmt.Sprintf("a file carries %s, and its process did not get that, so the container may not gain privileges (no-new-privileges): adding it only lets the file be executed", withheld.Text())
		if withheld.Has(capability.NetBindService) {
			part += "; to bind a low port, use --sysctl=net.ipv4.ip_unprivileged_port_start=N or a port from 1024 on"
		}
		parts = append(parts, part)
	}
	if !gained.Empty() {
		parts = append(parts, fmt.Sprintf("%s came through a set-user-ID program, file capabilities or an exec as root", gained.Text()))
	}
	return note + ": " + strings.Join(parts, "; ")
}

// notGiven tells whether a capability was needed only to execute a file that carries it, and was
// then denied to the program: with no_new_privs the kernel wants the file's capabilities to be in the
// bounding set, and does not give them (cap_bprm_creds_from_file, security/commoncap.c).
func notGiven(uses, denied []profile.Use) bool {
	return len(uses) > 0 && !slices.ContainsFunc(uses, func(u profile.Use) bool {
		return u.Site != "bprm_caps_from_vfs_caps" || !slices.ContainsFunc(denied, func(d profile.Use) bool { return d.Program == u.Program })
	})
}

// sysctls are the needs with which sysctls were written.
func sysctls(s profile.Summary) capability.Set {
	var set capability.Set
	for _, c := range s.Needs().Sorted() {
		for _, use := range s.Of(c, classify.Needs()...) {
			if slices.Contains(use.Stack, "proc_sys_call_handler") && strings.Contains(use.Call, "write") {
				set = set.With(c)
			}
		}
	}
	return set
}

func disagreement(g profile.Grants) string {
	var parts []string
	if more := g.Kernel.Minus(*g.Engine); !more.Empty() {
		parts = append(parts, "the kernel grants also "+more.Text())
	}
	if less := g.Engine.Minus(*g.Kernel); !less.Empty() {
		parts = append(parts, "the kernel does not grant "+less.Text()+" (an old engine and a host with a bounding set of its own have not got all to give)")
	}
	return "the engine's settings and the container's bounding set differ: " + strings.Join(parts, ", ")
}

package report

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/capmon/capmon/capability"
	"github.com/capmon/capmon/internal/alternatives"
	"github.com/capmon/capmon/internal/classify"
	"github.com/capmon/capmon/internal/container"
	"github.com/capmon/capmon/internal/profile"
	"github.com/capmon/capmon/internal/settings"
)

// Notes returns the cautions about a container's list, the most severe first, and then the alternatives to its
// capabilities. The texts are safe for a terminal.
func Notes(s profile.Summary) []string {
	return append(Cautions(s), Alternatives(s)...)
}

// Cautions returns the facts that a reader must know before relying on a container's list, the most severe first. The
// texts are safe for a terminal.
func Cautions(s profile.Summary) []string {
	makePrintable(&s)
	return cautions(s)
}

// Alternatives returns the untested alternatives to the capabilities of a container's list. The texts are safe for a
// terminal.
func Alternatives(s profile.Summary) []string {
	makePrintable(&s)
	var texts []string
	for _, alternative := range alternatives.Of(s) {
		texts = append(texts, alternative.String())
	}
	return texts
}

// cautions implements [Cautions] for a printable summary.
func cautions(s profile.Summary) []string {
	notes := containerCautions(s)
	if s.Container.Kind != "" {
		for i := range notes {
			notes[i] = withNoun(notes[i], workloadNoun(s))
		}
	}
	return notes
}

// workloadNoun returns what a workload is, for people.
func workloadNoun(s profile.Summary) string {
	switch s.Container.Kind {
	case container.Process:
		return "command"
	case container.Unit:
		return "unit"
	}
	return "container"
}

// withNoun makes a text about a container one about another workload.
func withNoun(text, noun string) string {
	return strings.NewReplacer("the container", "the "+noun, "this container", "this "+noun, "a new container", "the "+noun, "run capmon verify", "try the list").Replace(text)
}

func containerCautions(s profile.Summary) []string {
	var notes []string
	if s.Container.Unconfirmed != "" {
		notes = append(notes, "no engine confirms that this is a container: a user other than root may have created the cgroup "+s.Container.Unconfirmed+" with this name")
	}
	for _, reason := range s.Incomplete {
		notes = append(notes, "incomplete: "+reason+"; a capability that looks unused may have been used")
	}
	if !s.Started {
		return append(notes, notStarted(s))
	}
	if len(s.Unexamined) > 0 {
		notes = append(notes, "capmon could not read the file capabilities of these programs in time, and the container may need them: "+profile.Names(s.Unexamined))
	}
	if n := s.Others(); n > 0 {
		notes = append(notes, fmt.Sprintf("the container has too many kinds of check: capmon lists %s as %q, without process names and arguments", plural(n, "check", "checks"), others))
	}
	if s.Unlisted > 0 {
		notes = append(notes, fmt.Sprintf("capmon does not list the files of %s, because there are too many files", plural(s.Unlisted, "check", "checks")))
	}
	if !s.Unwatched.Empty() {
		notes = append(notes, fmt.Sprintf("the seccomp profile may require %[1]s for some system calls, and capmon did not record all of these calls: with a list that lacks %[1]s, such calls may fail", s.Unwatched.Text()))
	}
	if s.Existed {
		notes = append(notes, fmt.Sprintf("the container was already running when the observation began: capmon does not know what it used before %s", formatTime(s.Found)))
	}
	if why := s.StartUnseen(); why != "" {
		notes = append(notes, why+": a new container may fail to start with this list; "+settings.HowToRecordStart(s))
	}
	if s.Running && !s.Existed {
		notes = append(notes, "the container was still running when the observation ended: capmon does not know what it needs later")
	}
	if note := outdated(s); note != "" {
		notes = append(notes, note)
	}
	notes = append(notes, unproved(s)...)
	if note := emptySet(s); note != "" {
		notes = append(notes, note)
	}
	if s.Grants.Disagree() {
		notes = append(notes, disagreement(s.Grants))
	}
	if s.Moved {
		notes = append(notes, "a process of the container has moved to another cgroup: capmon recorded its checks, but may not know the files that it used")
	}
	if s.EngineError != "" {
		notes = append(notes, "the engine could not report the container's settings, so the grants are those that the kernel reports: "+s.EngineError)
	}
	return notes
}

// notStarted returns the caution for a container if capmon saw only the runtime setup of the container.
func notStarted(s profile.Summary) string {
	const note = "capmon saw only the runtime setup of the container, not its workload"
	var lacking capability.Set
	for _, use := range s.Uses {
		if use.Class == classify.Denied && use.Site == classify.ExecveSite {
			lacking = lacking.With(use.Capability)
		}
	}
	if lacking.Empty() {
		return note + ": its needs are unknown"
	}
	return fmt.Sprintf("%s. The file capabilities of its program require %s. Its other needs are unknown", note, lacking.Text())
}

// formatTime formats a time for a table, with seconds and time zone.
func formatTime(t time.Time) string { return t.Format("2006-01-02 15:04:05 MST") }

// unproved returns the cautions that do not apply once the list is proved.
func unproved(s profile.Summary) []string {
	if s.Proved() {
		return nil
	}
	var notes []string
	if s.Failed != nil && s.Denied().Empty() {
		notes = append(notes, failedWithoutDenial(s))
	}
	for _, reason := range s.Invisible() {
		notes = append(notes, reason+": run capmon verify")
	}
	notes = append(notes, unsureNeeds(s)...)
	for _, c := range s.Needs().Sorted() {
		if !c.Named() { // verify cannot try it either
			notes = append(notes, fmt.Sprintf("capability %s is newer than this version of capmon, which has no name for it: the settings cannot contain it", c))
		}
		if narrower, ok := s.Advised(c); ok {
			notes = append(notes, fmt.Sprintf("%s is sufficient instead of %s, and grants less: --cap-add=%s", narrower, c, narrower))
		}
	}
	if set := sysctls(s); !set.Empty() {
		notes = append(notes, fmt.Sprintf("the container writes sysctls, for which the kernel checks %s. Without --privileged, /proc/sys is read-only, with or without this capability. "+
			"Set the sysctls of the container's own namespaces with --sysctl=NAME=VALUE, and the others on the host", set.Text()))
	}
	return notes
}

// failedWithoutDenial returns the possible reasons why a container failed although the kernel denied no check.
func failedWithoutDenial(s profile.Summary) string {
	switch {
	case len(s.Readers) > 0:
		return fmt.Sprintf("the container ended with exit status %d, although the kernel denied no check. These programs read their own capabilities "+
			"(capget, PR_CAPBSET_READ) and may have ended because one is missing: %s. To find out, run the container with --cap-add=ALL", *s.Failed, profile.Names(s.Readers))
	case s.LimitsSeen: // capmon would have seen capget as well
		return fmt.Sprintf("the container ended with exit status %d, although the kernel denied no check. A program may have read its own capabilities "+
			"(/proc/self/status) and ended because one is missing, or the seccomp profile may have denied a system call. The kernel makes no check in either case", *s.Failed)
	}
	return fmt.Sprintf("the container ended with exit status %d, although the kernel denied no check. A program may have read its own capabilities "+
		"(capget, /proc/self/status, PR_CAPBSET_READ) and ended because one is missing, or the seccomp profile may have denied a system call. The kernel makes no check in either case", *s.Failed)
}

// unsureNeeds returns a caution for the members of the list that may not be needed. Capabilities with the same reason
// share one caution.
func unsureNeeds(s profile.Summary) []string {
	var reasons []string
	sets := make(map[string]capability.Set)
	for _, c := range s.Unsure().Sorted() {
		reason := s.UnsureReason(c)
		if sets[reason].Empty() {
			reasons = append(reasons, reason)
		}
		sets[reason] = sets[reason].With(c)
	}
	var notes []string
	for _, reason := range reasons {
		format := "%s is on the list, but may not be needed: %s"
		if sets[reason].Len() > 1 {
			format = "%s are on the list, but may not be needed: %s"
		}
		notes = append(notes, fmt.Sprintf(format, sets[reason].Text(), reason))
	}
	return notes
}

// emptySet returns the caution for a workload that started without any capability, "" for others. It returns "" as well
// if the container was already running: its workload may have started as root and dropped all capabilities.
func emptySet(s profile.Summary) string {
	if s.Existed || s.Grants.Permitted == nil || !s.Grants.Permitted.Empty() || s.Grants.Kernel == nil || s.Grants.Kernel.Empty() {
		return ""
	}
	note := fmt.Sprintf("the workload starts as user %d with an empty effective set", s.Users[0])
	if s.Needs().Empty() {
		return note + ": remove all granted capabilities"
	}
	var unlocking, withheld, gained capability.Set
	for _, c := range s.Needs().Sorted() {
		switch uses := s.UsesOf(c, classify.Needs()...); {
		case len(uses) > 0 && !slices.ContainsFunc(uses, func(u profile.UsePattern) bool { return u.Site != classify.Unlocked.Site }):
			unlocking = unlocking.With(c)
		case s.Grants.Kernel.Has(c) && notGiven(uses, s.UsesOf(c, classify.Denied)):
			withheld = withheld.With(c)
		default:
			gained = gained.With(c)
		}
	}
	var parts []string
	if !unlocking.Empty() {
		parts = append(parts, fmt.Sprintf("only the seccomp profile requires %s, not the kernel", unlocking.Text()))
	}
	if !withheld.Empty() {
		part := fmt.Sprintf("a file carries %s, but its process gained nothing, because of no-new-privileges: the grant is needed only to execute the file", withheld.Text())
		if withheld.Has(capability.NetBindService) {
			part += "; to bind a low port, use --sysctl=net.ipv4.ip_unprivileged_port_start=N or a port of at least 1024"
		}
		parts = append(parts, part)
	}
	if !gained.Empty() {
		parts = append(parts, fmt.Sprintf("processes gained %s through a set-user-ID program, file capabilities or docker exec as root", gained.Text()))
	}
	return note + ": " + strings.Join(parts, "; ")
}

// notGiven reports whether a capability was needed only to execute a file that carries it, and was then denied to the
// program. With no_new_privs, the kernel requires that the file's capabilities are in the bounding set, but does not
// grant them (cap_bprm_creds_from_file, security/commoncap.c).
func notGiven(uses, denied []profile.UsePattern) bool {
	return len(uses) > 0 && !slices.ContainsFunc(uses, func(u profile.UsePattern) bool {
		return u.Site != "bprm_caps_from_vfs_caps" || !slices.ContainsFunc(denied, func(d profile.UsePattern) bool { return d.Program == u.Program })
	})
}

// sysctls returns the needed capabilities that were used to write sysctls.
func sysctls(s profile.Summary) capability.Set {
	var set capability.Set
	for _, c := range s.Needs().Sorted() {
		for _, use := range s.UsesOf(c, classify.Needs()...) {
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
		parts = append(parts, "the kernel also grants "+more.Text())
	}
	if less := g.Engine.Minus(*g.Kernel); !less.Empty() {
		parts = append(parts, "the kernel does not grant "+less.Text()+" (an old engine, or a host with a limited bounding set, cannot grant all capabilities)")
	}
	return "the engine's settings and the container's bounding set differ: " + strings.Join(parts, ", ")
}

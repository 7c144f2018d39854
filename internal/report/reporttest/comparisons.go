package reporttest

import (
	"testing"
	"time"

	"github.com/capmon/capmon/capability"
	"github.com/capmon/capmon/internal/classify"
	"github.com/capmon/capmon/internal/compare"
	"github.com/capmon/capmon/internal/policy"
	"github.com/capmon/capmon/internal/profile"
	"github.com/capmon/capmon/internal/waiver"
)

// Comparisons returns the cases of the golden files of comparisons.
func Comparisons() map[string][2]profile.Profile {
	own := use(capability.Chown, classify.Required, 3, checked("nginx", "chown", "setattr_prepare"))
	bind := use(capability.NetBindService, classify.Required, 1, checked("nginx", "bind(AF_INET, port 80)", "__inet_bind"))
	ping := use(capability.NetRaw, classify.Required, 1, checked("ping", "socket(AF_INET, SOCK_RAW, ICMP)", "inet_create"))
	mount := use(capability.SysAdmin, classify.Denied, 1, checked("mount", "mount(tmpfs)", "path_mount"))
	memory := use(capability.SysAdmin, classify.Irrelevant, 900, checked("nginx", "mmap", "security_vm_enough_memory_mm"), because("checked on every change of memory size"))
	other := func(change func(*profile.UsePattern), u profile.UsePattern) profile.UsePattern { change(&u); return u }
	renamed := other(func(u *profile.UsePattern) { u.Program = "install" }, own)
	needless := other(func(u *profile.UsePattern) { u.Class, u.Reason = classify.Redundant, "the owner stays the same" }, own)
	after := func(uses ...profile.UsePattern) profile.Run {
		return changed(run(1, uses...), called("web", "nginx:1.29"))
	}

	many := []profile.UsePattern{own}
	for _, program := range []string{"a", "b", "c", "d", "e"} {
		many = append(many, other(func(u *profile.UsePattern) { u.Program, u.Call = program, "fchownat" }, own), other(func(u *profile.UsePattern) { u.Program = program }, ping))
	}
	return map[string][2]profile.Profile{
		"same":          {profile.New(run(1, own, memory)), profile.New(run(1, own, memory))},
		"no-needs":      {profile.New(run(1)), profile.New(run(1))},
		"new":           {profile.New(run(1, own)), profile.New(after(own, ping, bind))},
		"new-patterns":  {profile.New(run(1, own)), profile.New(after(own, other(func(u *profile.UsePattern) { u.Program, u.Call = "tar", "fchownat" }, own)))},
		"gone":          {profile.New(run(1, own, ping)), profile.New(after(own))},
		"changed":       {profile.New(run(1, own, bind)), profile.New(after(renamed, other(func(u *profile.UsePattern) { u.Call = "bind(AF_INET6, port 443)" }, bind)))},
		"many-patterns": {profile.New(run(1, own)), profile.New(after(many...))},
		"no-need":       {profile.New(run(1, own)), profile.New(after(needless))},
		"denied":        {profile.New(run(1, own)), profile.New(changed(after(own, mount), func(r *profile.Run) { r.Grants.Kernel = ptr(capability.Of(capability.Chown)) }))},
		"denied-now":    {profile.New(run(1, ping)), profile.New(after(other(func(u *profile.UsePattern) { u.Class, u.Granted = classify.Denied, false }, ping)))},
		"unsure": {
			profile.New(changed(run(1, own), func(r *profile.Run) { r.Existed = true })),
			profile.New(changed(after(ping), func(r *profile.Run) {
				r.Incomplete, r.Ended = []string{"3 checks were lost"}, r.Started.Add(10*time.Second)
			})),
		},
		"same-as-far-as-seen": {
			profile.New(changed(run(1, own), func(r *profile.Run) { r.Existed = true })),
			profile.New(changed(after(own), func(r *profile.Run) { r.Running = true })),
		},
		"containers": {
			profile.New(run(1, own), changed(run(2, bind), called("old", "apache:2"))),
			profile.New(run(1, own), changed(run(3, ping), called("new", "caddy:2"))),
		},
		"renamed": {profile.New(changed(run(1, own), called("vain_bohr", "nginx:1.28"))), profile.New(changed(run(1, own), called("eager_curie", "nginx:1.29")))},
		"proved":  {profile.New(run(1, own)), withProof(profile.New(after(own)), Proof(func(p *profile.Proof) { p.Container.Image = "nginx:1.29" }))},
		"nothing": {profile.New(), profile.New()},
		"hostile": {
			profile.New(changed(run(1, use(capability.Chown, classify.Required, 1, checked(Hostile, "chown", "site"))), called("one", "app"))),
			profile.New(changed(run(1,
				use(capability.Chown, classify.Class(Hostile), 1, checked("```", "chown", "site"), because(Hostile)),
				use(capability.Kill, classify.Denied, 1, checked(Hostile, Hostile, Hostile), because(Hostile)),
				use(capability.Setuid, classify.Required, 1, checked("```", Hostile, Hostile), unsure(Hostile)),
			), called(Hostile, Hostile), func(r *profile.Run) {
				r.Incomplete, r.Unexamined = []string{Hostile}, []string{Hostile}
				r.Observation.Recorder = profile.Recorder{Host: "```", Engine: "```", Capmon: Hostile}
			})),
		},
	}
}

// Checks returns the cases of the golden files of checks.
func Checks(t testing.TB) map[string]policy.Result {
	t.Helper()
	own := use(capability.Chown, classify.Required, 3, checked("nginx", "chown", "setattr_prepare"))
	ping := use(capability.NetRaw, classify.Required, 1, checked("ping", "socket(AF_INET, SOCK_RAW, ICMP)", "inet_create"))
	mount := use(capability.SysAdmin, classify.Denied, 1, checked("mount", "mount(tmpfs)", "path_mount"))
	var many []profile.UsePattern
	for _, program := range []string{"a", "b", "c", "d", "e"} {
		many = append(many, use(capability.NetRaw, classify.Required, 2, checked(program, "socket", "inet_create")))
	}
	parse := func(text string) policy.Policy {
		p, err := policy.Parse("policy.yaml", []byte(text))
		if err != nil {
			t.Fatal(err)
		}
		return p
	}
	const rules = `version: 1
rules:
  - name: no raw sockets
    deny: [NET_RAW, SYS_ADMIN]
  - name: web
    match: {image: [nginx]}
    allow: [CHOWN]
    allow-granted: [CHOWN, NET_RAW]
    max-unused: 0
    complete: true
    whole-run: true
    proved: true
  - name: idle
    match: {service: [mail]}
    allow: []
`
	two := profile.New(run(1, own, ping, mount), changed(run(2, own), called("db", "postgres")))
	baseline, err := compare.Profiles(profile.New(run(1, own)), two, compare.Options{})
	if err != nil {
		t.Fatal(err)
	}
	partial := changed(run(1, own), func(r *profile.Run) { r.Existed, r.Incomplete = true, []string{"3 checks were lost"} })
	hostileRun := changed(run(1,
		use(capability.Chown, classify.Required, 1, checked(Hostile, Hostile, Hostile), unsure(Hostile)),
		use(capability.Kill, classify.Denied, 1, checked(Hostile, Hostile, Hostile), because(Hostile)),
	), called(Hostile, Hostile), func(r *profile.Run) { r.Incomplete = []string{Hostile} })
	waived := func(result policy.Result, waivers string) policy.Result {
		file, err := waiver.Parse("waivers.yaml", []byte("waivers:\n"+waivers))
		if err != nil {
			t.Fatal(err)
		}
		result.Waive(file.At(Saturday))
		return result
	}
	return map[string]policy.Result{
		"waived": waived(policy.Check(two, parse("version: 1\nrules:\n  - {name: a, deny: [NET_RAW, SYS_ADMIN], max-unused: 2}\n  - {name: b, allow: [CHOWN]}\n"), nil), `
  - {container: web, capabilities: [NET_RAW, SYS_ADMIN], reason: it pings, owner: the web team, expires: 2099-12-31}
  - {image: "nginx:*", capabilities: [DEFAULT], reason: "its vendor requires them", owner: ops, expires: 2026-08-31}
`),
		"waived-in-part": waived(policy.Check(two, parse(rules), nil), `
  - {container: web, capabilities: [NET_RAW], reason: it pings, owner: the web team, expires: 2099-12-31}
  - {container: web, capabilities: [SYS_ADMIN], reason: it mounts, owner: the web team, expires: 2026-07-30}
  - {image: nginx, capabilities: [MKNOD, KILL], reason: its vendor requires them, owner: the web team, expires: 2026-08-20}
  - {container: db, capabilities: [ALL], reason: for tests, owner: ops, expires: 2099-12-31}
  - {container: mail, capabilities: [ALL], reason: for tests, owner: ops, expires: 2026-08-01}
`),
		"waived-hostile": waived(policy.Check(profile.New(hostileRun), parse("version: 1\nrules:\n  - {name: a, deny: [ALL]}\n"), nil), `
  - {container: "*", capabilities: [ALL], reason: '"<b>" \ [a](b) {0}', owner: "=1+1", expires: 2099-12-31}
`),
		"passed":           policy.Check(profile.New(run(1, own)), parse("version: 1\nrules:\n  - {name: a, allow: [CHOWN]}\n"), nil),
		"violated":         policy.Check(two, parse(rules), nil),
		"baseline":         policy.Check(two, policy.Policy{}, &baseline),
		"many-patterns":    policy.Check(profile.New(run(1, many...)), parse(rules), nil),
		"partial":          policy.Check(profile.New(partial), parse("version: 1\neven-if-start-unseen: true\nrules:\n  - {name: a, allow: [CHOWN]}\n"), nil),
		"start-unseen":     policy.Check(profile.New(partial), parse("version: 1\nrules:\n  - {name: a, allow: [CHOWN]}\n"), nil),
		"partial-violates": policy.Check(profile.New(partial), parse("version: 1\nrules:\n  - {name: a, complete: true, whole-run: true}\n"), nil),
		"unmatched":        policy.Check(profile.New(run(1, own)), parse("version: 1\nunmatched: fail\nrules:\n  - {name: a, match: {service: [db]}, allow: [CHOWN]}\n"), nil),
		"hostile":          policy.Check(profile.New(hostileRun), parse("version: 1\nrules:\n  - {name: a, deny: [ALL], complete: true}\n"), nil),
	}
}

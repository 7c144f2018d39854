module example.com/capabilities

go 1.26.8

require github.com/capmon/capmon v0.0.0

require (
	github.com/agnivade/levenshtein v1.2.2 // indirect
	github.com/cilium/ebpf v0.20.0 // indirect
	github.com/elastic/go-seccomp-bpf v1.6.0 // indirect
	github.com/moby/sys/capability v0.5.0 // indirect
	github.com/moby/sys/mountinfo v0.7.3 // indirect
	golang.org/x/sync v0.25.0 // indirect
	golang.org/x/sys v0.50.0 // indirect
)

replace github.com/capmon/capmon => ../..

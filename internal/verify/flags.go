package verify

import (
	"io"
	"strings"

	"github.com/spf13/pflag"
)

// The options of docker run, with their one-letter forms: those without and those with a value. An option that is
// missing here is rejected by name: without knowing whether a value follows, verify cannot find the image. The docker
// command's own definitions (cli/command/container) are not meant for other programs, and depend on the classic
// builder.
const (
	runSwitches = `detach,d disable-content-trust help init interactive,i no-healthcheck oom-kill-disable
		privileged publish-all,P quiet,q read-only rm sig-proxy tty,t use-api-socket`

	runValued = `add-host annotation attach,a blkio-weight blkio-weight-device cap-add cap-drop cgroup-parent
		cgroupns cidfile cpu-count cpu-percent cpu-period cpu-quota cpu-rt-period cpu-rt-runtime cpu-shares,c cpus
		cpuset-cpus cpuset-mems detach-keys device device-cgroup-rule device-read-bps device-read-iops
		device-write-bps device-write-iops dns dns-opt dns-option dns-search domainname entrypoint env,e env-file
		expose gpus group-add health-cmd health-interval health-retries health-start-interval
		health-start-period health-timeout hostname,h io-maxbandwidth io-maxiops ip ip6 ipc isolation
		kernel-memory label,l label-file link link-local-ip log-driver log-opt mac-address memory,m
		memory-reservation memory-swap memory-swappiness mount name net net-alias network network-alias
		oom-score-adj pid pids-limit platform publish,p pull restart runtime security-opt shm-size stop-signal
		stop-timeout storage-opt sysctl tmpfs ulimit user,u userns uts volume,v volume-driver volumes-from
		workdir,w`
)

// The options of docker compose, and of docker compose up.
const (
	composeSwitches = `all-resources compatibility dry-run verbose`
	composeValued   = `ansi env-file file,f parallel profile progress project-directory project-name,p`

	upSwitches = `abort-on-container-exit abort-on-container-failure always-recreate-deps attach-dependencies build
		detach,d dry-run force-recreate menu no-build no-color no-deps no-log-prefix no-recreate no-start quiet-build
		quiet-pull remove-orphans renew-anon-volumes,V timestamps wait watch,w yes,y`
	upValued = `attach exit-code-from no-attach pull scale timeout,t wait-timeout`
)

// unsupportedUpFlags are the options of docker compose up that change the service or start none. The other options
// describe how up itself behaves, which verify does itself.
var unsupportedUpFlags = []string{"build", "dry-run", "no-start", "pull", "scale", "watch"}

// newFlags returns the options of a command. The engine interprets the values.
func newFlags(command, switches, valued string) *pflag.FlagSet {
	flags := pflag.NewFlagSet(command, pflag.ContinueOnError)
	flags.SetInterspersed(false) // everything after the image is for the container
	flags.SetOutput(io.Discard)
	for _, names := range strings.Fields(switches) {
		name, letter, _ := strings.Cut(names, ",")
		flags.BoolP(name, letter, false, "")
	}
	for _, names := range strings.Fields(valued) {
		name, letter, _ := strings.Cut(names, ",")
		flags.StringP(name, letter, "", "")
	}
	return flags
}

package main

import (
	"context"
	"errors"
	"fmt"

	"github.com/spf13/cobra"
	"go.uber.org/zap"
	"golang.org/x/sys/unix"

	"github.com/capmon/capmon/internal/container"
	"github.com/capmon/capmon/internal/doctor"
	"github.com/capmon/capmon/internal/observe"
	"github.com/capmon/capmon/internal/profile"
	"github.com/capmon/capmon/internal/report"
	"github.com/capmon/capmon/internal/verify"
	"github.com/capmon/capmon/monitor"
)

// verifyFlags contains the flags of capmon verify.
type verifyFlags struct {
	logging *logging
	format  choiceFlag
	save    string
	options verify.Options
}

func newVerify(logging *logging) *cobra.Command {
	v := &verifyFlags{logging: logging}
	cmd := &cobra.Command{
		Use:   "verify [PROFILE] [flags] -- {docker run [OPTION...] IMAGE [COMMAND...] | docker compose [OPTION...] up SERVICE}",
		Short: "Prove which capabilities a container needs",
		Long: `verify runs the container several times: under its own flags, then with the observed
list, and then with the list without each of its members. The outcome with the observed
list must be the same as under its own flags. verify drops a member if the outcome stays
the same without it. At the end, verify runs the remaining list once more.

The outcome is the exit status of the container. With --test, the outcome is the exit
status of a shell command, and how the container stops after it. verify runs this command
on the host when the container is healthy, if it has a HEALTHCHECK, or listens on the
ports that the command uses. In the command, $CONTAINER is the name of the container, and
$PORT_80 is the port of the host for its port 80. If an exit status other than 0 means
success, use --expect-exit. verify rejects a container that fails under its own flags.

verify starts each container a second time, with the files and volumes of its first
start. With docker run --rm, it does so only if volumes or directories outlive the
container.

The observed list is from a PROFILE that --save wrote, or from the first run. verify
creates its own containers: their names, addresses and ports differ from the command
line, and their input is empty. verify removes them at the end. It runs a Compose
service in its own projects. The exit code is 1 if the list is not proved. verify
supports only Docker.`,
		Example: `  sudo capmon verify -- docker run --rm app ./selftest
  sudo capmon verify --test 'curl -fsS localhost:$PORT_80' -- docker run -d -p 80:80 nginx
  sudo capmon verify --test 'curl -fsS localhost:$PORT_80' -- docker compose up web
  sudo capmon verify --repeat 3 --save web.json web.json -- docker run --name web app`,
		RunE: func(cmd *cobra.Command, args []string) error {
			dash := cmd.ArgsLenAtDash()
			if dash < 0 {
				return errors.New("no command: give the command to verify, such as capmon verify -- docker run IMAGE")
			}
			return v.run(cmd, args[:dash], args[dash:])
		},
	}
	flags := cmd.Flags()
	registerOutput(flags, &v.format, report.ProofFormats()...)
	flags.StringVar(&v.save, "save", "", "write the profile with its proof to this `FILE`")
	flags.StringVar(&v.options.Test, "test", "", "shell `COMMAND` that exits with 0 if the container works")
	flags.IntVar(&v.options.ExpectExit, "expect-exit", 0, "exit `STATUS` of the container that means success (default 0); not with --test")
	flags.DurationVar(&v.options.Timeout, "timeout", 0, "limit each start to this `DURATION` (default: 5m for the first start; then 10 times its duration, but at least 30s)")
	flags.IntVar(&v.options.Repeat, "repeat", 1, "run each list `N` times; if the outcomes differ, verify keeps the capability")
	flags.IntVar(&v.options.Jobs, "jobs", 1, "run `N` trials at the same time, unless they share a volume, a directory or the host's network")
	flags.BoolVar(&v.options.KeepGoing, "keep-going", false, "if the observed list is not sufficient, search among all granted capabilities")
	flags.BoolVar(&v.options.SharedVolumes, "shared-volumes", false, "allow the runs to write to volumes and directories that another container uses")
	flags.BoolVar(&v.options.SecondStart, "second-start", true, "start each container a second time, with the files of its first start")
	return cmd
}

// validate validates the flags, the command and the rights of this process before verify starts anything. It returns
// the logger.
func (v *verifyFlags) validate(cmd *cobra.Command, files, command []string) (*zap.Logger, error) {
	switch {
	case len(files) > 1:
		return nil, errors.New("more than one PROFILE: name only the one with the list to verify")
	case cmd.Flags().Changed("timeout") && v.options.Timeout <= 0:
		return nil, fmt.Errorf("--timeout %s: use a time greater than 0, such as 5m", v.options.Timeout)
	case v.options.Repeat < 1:
		return nil, fmt.Errorf("--repeat %d: use 1 or more", v.options.Repeat)
	case v.options.ExpectExit < 0 || v.options.ExpectExit > 255:
		return nil, fmt.Errorf("--expect-exit %d: use an exit status from 0 to 255", v.options.ExpectExit)
	case v.options.ExpectExit != 0 && v.options.Test != "":
		return nil, errors.New("--expect-exit and --test: with --test, the exit status of the test must be 0; leave out one of the two")
	case v.options.Jobs < 1:
		return nil, fmt.Errorf("--jobs %d: use 1 or more", v.options.Jobs)
	}
	var err error
	if v.options.Command, err = verify.ParseCommand(cmd.Context(), command); err != nil {
		return nil, err
	}
	if err := verify.CheckTest(v.options.Command, v.options.Test); err != nil {
		return nil, err
	}
	if len(files) == 1 {
		p, err := profile.Load(files[0])
		if err != nil {
			return nil, err
		}
		v.options.Profile = &p
	}
	if v.save != "" {
		if err := profile.CheckSave(v.save); err != nil {
			return nil, err
		}
	}
	log, err := v.logging.logger()
	if err != nil {
		return nil, err
	}
	return log, doctor.Check()
}

func (v *verifyFlags) run(cmd *cobra.Command, files, command []string) error {
	log, err := v.validate(cmd, files, command)
	if err != nil {
		return err
	}
	docker, err := connect(cmd.Context(), true, log)
	if err != nil {
		return err
	}
	defer docker.Close()
	if err := rejectPodman(cmd.Context(), docker); err != nil {
		return err
	}
	observer, err := observe.Start(context.WithoutCancel(cmd.Context()), observe.Options{Monitor: monitor.Options{Outcomes: true}, Engine: docker, Version: versionNumber(), Log: log})
	if err != nil {
		return withRemedy(err)
	}
	defer observer.Close()

	v.options.Docker, v.options.Observer = docker, observer
	printer := newTrialPrinter(optional(cmd, progressNote), cmd.ErrOrStderr())
	printer.register(&v.options)
	stop := printer.showStatus()
	p, proof, err := verify.Verify(cmd.Context(), v.options)
	stop()
	switch {
	case cmd.Context().Err() != nil:
		return v.interrupted(cmd, p, proof, files)
	case err != nil:
		return err
	}
	return v.finish(cmd, p, proof, files)
}

// rejectPodman returns an error if the engine is Podman. Podman reports the settings of containers and their ends in
// another way than Docker, so the outcomes would be wrong.
func rejectPodman(ctx context.Context, docker *container.Docker) error {
	if err := docker.Alive(ctx); err != nil {
		return err
	}
	if docker.Name() != container.Podman {
		return nil
	}
	return fmt.Errorf("verify supports only Docker, but Podman answers at %s: use another DOCKER_HOST or docker context; capmon profile -- podman run … records what a container of Podman needs", docker.Endpoint())
}

// interrupted prints what verify had proved before Ctrl-C.
func (v *verifyFlags) interrupted(cmd *cobra.Command, p profile.Profile, proof profile.Proof, files []string) error {
	what := "nothing is proved"
	if proof.Works {
		what = "only finished trials count in the proof"
		if err := v.show(cmd, p, proof, files); err != nil {
			return err
		}
	}
	fmt.Fprintf(cmd.ErrOrStderr(), "capmon: interrupted; %s, and verify has removed its containers\n", what)
	return &exitError{signalExitCode(unix.SIGINT)}
}

func (v *verifyFlags) finish(cmd *cobra.Command, p profile.Profile, proof profile.Proof, files []string) error {
	if err := v.show(cmd, p, proof, files); err != nil {
		return err
	}
	if !proof.Enough || !proof.Minimal {
		return &exitError{exitFindings}
	}
	return nil
}

// show saves and prints the proof. files are the profiles that the list is from.
func (v *verifyFlags) show(cmd *cobra.Command, p profile.Profile, proof profile.Proof, files []string) error {
	var saveErr error
	if v.save != "" {
		saveErr = profile.Save(v.save, p)
	}
	// Print the proof even if the profile could not be saved.
	evidence := newEvidence(verifyScope(proof, files)).WithProof(proof)
	return errors.Join(report.WriteProof(cmd.OutOrStdout(), proof, report.Format(v.format.value), report.Options{Evidence: evidence, Color: colored(cmd)}), saveErr)
}

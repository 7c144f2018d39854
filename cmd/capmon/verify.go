package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"go.uber.org/zap"
	"golang.org/x/sys/unix"

	"github.com/capmon/capmon/internal/doctor"
	"github.com/capmon/capmon/internal/observe"
	"github.com/capmon/capmon/internal/profile"
	"github.com/capmon/capmon/internal/report"
	"github.com/capmon/capmon/internal/verify"
	"github.com/capmon/capmon/monitor"
)

// verifying holds the flags of verify.
type verifying struct {
	logging *logging
	format  string
	save    string
	options verify.Options
}

func newVerify(logging *logging) *cobra.Command {
	v := &verifying{logging: logging}
	cmd := &cobra.Command{
		Use:   "verify [PROFILE] -- {docker run [OPTION...] IMAGE [COMMAND...] | docker compose [OPTION...] up SERVICE}",
		Short: "Prove which capabilities a container needs, by running it without them",
		Long: `verify runs the container under its own flags and under the list that was observed,
which must give the same outcome, and then without each member of the list: one
whose absence changes nothing is dropped, and what remains is run once more.

The outcome is the exit status of the container, or of the shell command given by
--test, which is run when the container is healthy (if it has a HEALTHCHECK) or
listens on the ports that the test names, with its name in $CONTAINER and its published
ports in $PORT_80 and so on, and how the container stops after that. A container that fails under its own flags is
refused; --expect-exit gives an exit status other than 0 that means success.

Each container is started a second time, with the files and volumes of its first start;
one of docker run --rm only if it has volumes or directories that outlive it.

The list is that of a PROFILE which --save wrote, or of the first run. The
containers are verify's own: their names, addresses and ports are other ones than
in the command line, their input is empty, and they are removed in the end. A
service of compose is run in projects of verify's own.`,
		Example: `  sudo capmon verify -- docker run --rm app ./selftest
  sudo capmon verify --test 'curl -fsS localhost:$PORT_80' -- docker run -d -p 80:80 nginx
  sudo capmon verify --test 'curl -fsS localhost:$PORT_80' -- docker compose up web
  sudo capmon verify --repeat 3 --save web.json web.json -- docker run --name web app`,
		RunE: func(cmd *cobra.Command, args []string) error {
			dash := cmd.ArgsLenAtDash()
			if dash < 0 {
				return errors.New("no command: say what to verify, such as capmon verify -- docker run IMAGE")
			}
			return v.run(cmd, args[:dash], args[dash:])
		},
	}
	flags := cmd.Flags()
	flags.StringVarP(&v.format, "output", "o", string(report.Table), "form of the proof: table or json")
	flags.StringVar(&v.save, "save", "", "write the profile with its proof to this file")
	flags.StringVar(&v.options.Test, "test", "", "shell command whose exit status 0 says that the container works")
	flags.IntVar(&v.options.ExpectExit, "expect-exit", 0, "exit status with which the container succeeds, if there is no --test")
	flags.DurationVar(&v.options.Timeout, "timeout", 0, "longest time that one start may take (default 5m for the first one, then 10 times as long as that took and at least 30s)")
	flags.IntVar(&v.options.Repeat, "repeat", 1, "run each list so many times; where they disagree a capability is kept")
	flags.IntVar(&v.options.Jobs, "jobs", 1, "try so many lists at the same time, unless their containers share something")
	flags.BoolVar(&v.options.KeepGoing, "keep-going", false, "if the observed list is not enough, search among all that is granted")
	flags.BoolVar(&v.options.SharedVolumes, "shared-volumes", false, "write to volumes and directories that another container uses")
	flags.BoolVar(&v.options.SecondStart, "second-start", true, "start each container a second time, which finds the files of the first")
	return cmd
}

// check validates what can be told before anything is started.
func (v *verifying) check(cmd *cobra.Command, files, command []string) (*zap.Logger, error) {
	if _, err := report.ParseProofFormat(v.format); err != nil {
		return nil, err
	}
	switch {
	case len(files) > 1:
		return nil, errors.New("more than one profile: give one, capmon verify takes its list from it")
	case cmd.Flags().Changed("timeout") && v.options.Timeout <= 0:
		return nil, fmt.Errorf("--timeout %s: give a time that is positive, such as 5m", v.options.Timeout)
	case v.options.Repeat < 1:
		return nil, fmt.Errorf("--repeat %d: give 1 or more", v.options.Repeat)
	case v.options.ExpectExit < 0 || v.options.ExpectExit > 255:
		return nil, fmt.Errorf("--expect-exit %d: give an exit status from 0 to 255", v.options.ExpectExit)
	case v.options.ExpectExit != 0 && v.options.Test != "":
		return nil, errors.New("--expect-exit with --test: the exit status of the test decides, and has to be 0; leave one of the two out")
	case v.options.Jobs < 1:
		return nil, fmt.Errorf("--jobs %d: give 1 or more", v.options.Jobs)
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

func (v *verifying) run(cmd *cobra.Command, files, command []string) error {
	log, err := v.check(cmd, files, command)
	if err != nil {
		return err
	}
	docker, err := connect(cmd.Context(), true, log)
	if err != nil {
		return err
	}
	defer docker.Close()
	observer, err := observe.Start(context.WithoutCancel(cmd.Context()), observe.Options{Monitor: monitor.Options{Outcomes: true}, Engine: docker, Log: log})
	if err != nil {
		return explain(err)
	}
	defer observer.Close()

	v.options.Docker, v.options.Observer = docker, observer
	newTicker(cmd.ErrOrStderr()).register(&v.options)
	p, proof, err := verify.Verify(cmd.Context(), v.options)
	switch {
	case cmd.Context().Err() != nil:
		return v.interrupted(cmd, p, proof)
	case err != nil:
		return err
	}
	return v.finish(cmd, p, proof)
}

// interrupted shows what was proved until Ctrl-C.
func (v *verifying) interrupted(cmd *cobra.Command, p profile.Profile, proof profile.Proof) error {
	what := "nothing is proved"
	if proof.Works {
		what = "only what was tried until then is proved"
		if err := v.show(cmd, p, proof); err != nil {
			return err
		}
	}
	fmt.Fprintf(cmd.ErrOrStderr(), "capmon: interrupted; %s, and no container of verify's is left\n", what)
	return &exitError{signalled(unix.SIGINT)}
}

func (v *verifying) finish(cmd *cobra.Command, p profile.Profile, proof profile.Proof) error {
	if err := v.show(cmd, p, proof); err != nil {
		return err
	}
	if !proof.Enough || !proof.Minimal {
		return &exitError{exitFound}
	}
	return nil
}

// show saves and prints the proof.
func (v *verifying) show(cmd *cobra.Command, p profile.Profile, proof profile.Proof) error {
	var saveErr error
	if v.save != "" {
		saveErr = profile.Save(v.save, p)
	}
	// What cannot be saved is shown at least.
	return errors.Join(report.WriteProof(cmd.OutOrStdout(), proof, report.Format(v.format)), saveErr)
}

// ticker shows the trials as they happen.
type ticker struct {
	out  io.Writer
	live bool // a terminal, where a line can be written over
	// done are the trials that are over, of a total that is an estimate.
	done, total int
}

func newTicker(stderr io.Writer) *ticker {
	return &ticker{out: stderr, live: onTerminal(stderr), total: 2}
}

func (t *ticker) register(options *verify.Options) {
	options.Trying = func(trial profile.Trial) {
		if t.live {
			fmt.Fprintf(t.out, "\r\033[K    %s %s …", t.bar(), report.Attempt(trial))
		}
	}
	options.Tried = func(trial profile.Trial) {
		t.done++
		if t.done == 2 { // the list: each member is left out, and what remains is tried again
			t.total += trial.Set.Len() + 1
		}
		t.line(report.Tried(trial))
	}
	options.Hanging = func(trial profile.Trial, after, limit time.Duration) {
		t.line(fmt.Sprintf("%s: still runs after %s; verify ends it after %s", report.Attempt(trial), after.Round(time.Second), limit))
		options.Trying(trial)
	}
	options.Note = func(note string) { t.line("note: " + note) }
}

// bar tells how far it is. When something can be left out there is more to try than was
// thought.
func (t *ticker) bar() string {
	const width = 20
	t.total = max(t.total, t.done+1)
	full := width * t.done / t.total
	return fmt.Sprintf("[%s%s] %d of about %d ", strings.Repeat("#", full), strings.Repeat("-", width-full), t.done, t.total)
}

func (t *ticker) line(text string) {
	if t.live {
		fmt.Fprint(t.out, "\r\033[K")
	}
	fmt.Fprintln(t.out, "capmon:", text)
}

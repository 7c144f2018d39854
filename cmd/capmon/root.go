package main

import (
	"fmt"
	"os"
	"runtime/debug"

	"github.com/spf13/cobra"
	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"

	"github.com/capmon/capmon/internal/printable"
)

// version and commit are set by the Makefile; a plain go install has them from
// the build information.
var version, commit string

func newRoot() *cobra.Command {
	logging := &logging{}
	root := &cobra.Command{
		Use:   "capmon",
		Short: "Tells which Linux capabilities containers really use",
		Long: `capmon records the kernel's capability checks of each container, tells the ones
that matter from those that do not, and prints the shortest list of capabilities
that the workload needs.`,
		Example: `  # profile a container from its first instruction, then print its flags
  sudo capmon profile -- docker run --rm nginx nginx -t

  # profile running containers for ten minutes
  sudo capmon profile web db --for 10m`,
		Version:       versionText(),
		SilenceUsage:  true,
		SilenceErrors: true,
		// Without it cobra looks for a command behind an unknown flag and its value, and blames that.
		Args: subcommandsOnly,
		RunE: func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	root.PersistentFlags().StringVar(&logging.format, "log-format", "console", "format of logs on stderr: console or json")
	root.PersistentFlags().StringVar(&logging.level, "log-level", "warn", "lowest level to log: debug, info, warn or error")
	root.SetFlagErrorFunc(explainFlag)
	root.SetHelpCommand(newHelp())
	root.AddCommand(newProfile(logging), newWatch(logging), newReport(), newFlags(), newVerify(logging), newAudit(logging), newDoctor())
	root.AddCommand(newMerge(), newDiff(), newCheck(), newDB(), newRules(), newServe(logging))
	return root
}

func versionText() string {
	v, c := version, commit
	if info, ok := debug.ReadBuildInfo(); ok {
		if v == "" {
			v = info.Main.Version
		}
		for _, setting := range info.Settings {
			if setting.Key == "vcs.revision" && c == "" {
				c = setting.Value
			}
		}
	}
	if c == "" {
		c = "unknown"
	}
	return fmt.Sprintf("%s (commit %s)", v, c)
}

// logging makes the one logger that is handed down.
type logging struct{ format, level string }

func (l *logging) logger() (*zap.Logger, error) {
	level, err := zapcore.ParseLevel(l.level)
	if err != nil {
		return nil, fmt.Errorf("unknown --log-level %q: choose debug, info, warn or error", l.level)
	}
	var encoder zapcore.Encoder
	switch l.format {
	case "json":
		encoder = zapcore.NewJSONEncoder(zap.NewProductionEncoderConfig())
	case "console":
		encoder = zapcore.NewConsoleEncoder(zap.NewDevelopmentEncoderConfig())
	default:
		return nil, fmt.Errorf("unknown --log-format %q: choose console or json", l.format)
	}
	// None is left out, which would hide losses.
	out := zapcore.Lock(zapcore.AddSync(printable.Writer(os.Stderr)))
	log := zap.New(zapcore.NewCore(encoder, out, level), zap.ErrorOutput(out))
	// net/http complains to the standard log of what its errors say as well.
	_, err = zap.RedirectStdLogAt(log, zap.DebugLevel)
	return log, err
}

package main

import (
	"cmp"
	"fmt"
	"io"
	"os"
	"runtime/debug"

	"github.com/spf13/cobra"
	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"

	"github.com/capmon/capmon/internal/printable"
)

// version and commit are set by the Makefile. A binary of go install reads them from its build information.
var version, commit string

func newRoot() *cobra.Command { return newRootLogging(newLogging(nil)) }

func newRootLogging(logging *logging) *cobra.Command {
	root := &cobra.Command{
		Use:   "capmon",
		Short: "Report which Linux capabilities containers really need",
		Long: `capmon records the capability checks that the kernel makes for each container. It
separates the checks that matter from the checks that do not, and prints the shortest
list of capabilities that the workload needs.`,
		Example: `  # record a container from its first instruction, then print the capabilities that it needs
  sudo capmon profile -- docker run --rm nginx nginx -t

  # record running containers for ten minutes
  sudo capmon profile web db --for 10m`,
		Version:       versionText(),
		SilenceUsage:  true,
		SilenceErrors: true,
		// Otherwise cobra treats the value of an unknown flag as an unknown command, and reports that.
		Args: subcommandsOnly,
		RunE: func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	root.PersistentFlags().Var(&logging.format, "log-format", "`FORMAT` of logs and messages on stderr: "+logging.format.list())
	root.PersistentFlags().Var(&logging.level, "log-level", "lowest `LEVEL` to log: "+logging.level.list())
	registerQuiet(root.PersistentFlags())
	root.SetErr(notices{logging})
	root.SetFlagErrorFunc(explainFlag)
	root.SetHelpCommand(newHelp())
	root.AddCommand(newProfile(logging), newTop(logging), newWatch(logging), newReport(), newFlags(), newVerify(logging), newAudit(logging), newDoctor())
	root.AddCommand(newMerge(), newDiff(), newCheck(), newDB(), newRules(), newServe(logging))
	return root
}

// versionNumber returns the version without its commit.
func versionNumber() string {
	if info, ok := debug.ReadBuildInfo(); ok && version == "" {
		return cmp.Or(info.Main.Version, "unknown")
	}
	return cmp.Or(version, "unknown")
}

func versionText() string {
	c := commit
	if info, ok := debug.ReadBuildInfo(); ok {
		for _, setting := range info.Settings {
			if setting.Key == "vcs.revision" && c == "" {
				c = setting.Value
			}
		}
	}
	if c == "" {
		c = "unknown"
	}
	return fmt.Sprintf("%s (commit %s)", versionNumber(), c)
}

// logging contains the logging flags and creates the logger.
type logging struct {
	format, level choiceFlag
	// early is true if the arguments contain --log-format json. format has no value before all flags are parsed.
	early bool
	// stderr is the writer for everything that capmon prints on standard error.
	stderr *statusLine
}

func newLogging(args []string) *logging {
	return &logging{
		format: choiceFlag{"console", []string{"console", "json"}}, level: choiceFlag{"warn", []string{"debug", "info", "warn", "error"}},
		early: wantsJSON(args), stderr: newStatusLine(os.Stderr),
	}
}

func (l *logging) json() bool { return l.early || l.format.value == "json" }

func (l *logging) logger() (*zap.Logger, error) { return l.loggerTo(l.stderr) }

func (l *logging) loggerTo(writer io.Writer) (*zap.Logger, error) {
	level, err := zapcore.ParseLevel(l.level.value)
	if err != nil {
		return nil, err
	}
	encoder := zapcore.NewConsoleEncoder(zap.NewDevelopmentEncoderConfig())
	if l.json() {
		encoder = zapcore.NewJSONEncoder(zap.NewProductionEncoderConfig())
	}
	// No sampling: it would hide losses.
	out := zapcore.Lock(zapcore.AddSync(printable.Writer(writer)))
	log := zap.New(zapcore.NewCore(encoder, out, level), zap.ErrorOutput(out))
	// net/http also writes errors that it returns to the standard log.
	_, err = zap.RedirectStdLogAt(log, zap.DebugLevel)
	return log, err
}

package main

import (
	"context"
	"errors"
	"fmt"
	"time"

	"go.uber.org/zap"

	"github.com/capmon/capmon/internal/rules"
	"github.com/capmon/capmon/internal/sink"
	"github.com/capmon/capmon/internal/strictyaml"
)

// flushTime is how long capmon waits at its end for the sinks to deliver pending alerts.
const flushTime = 5 * time.Second

// sinksOf parses the sinks of a file of rules.
func sinksOf(file rules.File) (configs []sink.Config, spool sink.Spool, err error) {
	if file.Sinks != nil {
		configs, err = sink.Parse(file.Sinks)
	}
	if err == nil {
		spool, err = sink.ParseSpool(file.Spool)
	}
	if err != nil {
		return nil, sink.Spool{}, fmt.Errorf("rules %w", strictyaml.Explain(file.Path, err))
	}
	return configs, spool, nil
}

// openSinks opens the sinks of a file of rules. The file may have none.
func openSinks(file rules.File, log *zap.Logger) (*sink.Sinks, error) {
	configs, spool, err := sinksOf(file)
	if err != nil {
		return nil, err
	}
	sinks, err := sink.Open(configs, spool, log)
	if err != nil {
		return nil, fmt.Errorf("rules %s: %w", file.Path, err)
	}
	return sinks, nil
}

// reloadSinks replaces the sinks with the sinks of another file. If it cannot open them, it changes nothing.
func reloadSinks(sinks *sink.Sinks, file rules.File) error {
	configs, spool, err := sinksOf(file)
	if err != nil {
		return err
	}
	if spool != sinks.Spool() {
		return errors.New("rules " + file.Path + ": the settings of the spool have changed: restart capmon to apply them")
	}
	if err := sinks.Reload(configs); err != nil {
		return fmt.Errorf("rules %s: %w", file.Path, err)
	}
	return nil
}

// closeSinks waits for pending alerts for at most flushTime, and closes the sinks. The log reports alerts that are
// left.
func closeSinks(sinks *sink.Sinks) error {
	ctx, cancel := context.WithTimeout(context.Background(), flushTime)
	defer cancel()
	return sinks.Close(ctx)
}

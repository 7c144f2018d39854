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

// flushTime is how long sinks may take at the end for what they have not yet taken.
const flushTime = 5 * time.Second

// sinksOf reads the sinks of a file of rules.
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

// openSinks opens the sinks of a file of rules, which may have none.
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

// reloadSinks takes those of another file; if they cannot be opened, all stay as they were.
func reloadSinks(sinks *sink.Sinks, file rules.File) error {
	configs, spool, err := sinksOf(file)
	if err != nil {
		return err
	}
	if spool != sinks.Spool() {
		return errors.New("rules " + file.Path + ": another spool needs another start of capmon")
	}
	if err := sinks.Reload(configs); err != nil {
		return fmt.Errorf("rules %s: %w", file.Path, err)
	}
	return nil
}

// closeSinks delivers what it can in the time that there is. What is left the log tells.
func closeSinks(sinks *sink.Sinks) error {
	ctx, cancel := context.WithTimeout(context.Background(), flushTime)
	defer cancel()
	return sinks.Close(ctx)
}

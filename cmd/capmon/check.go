package main

import (
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/capmon/capmon/internal/compare"
	"github.com/capmon/capmon/internal/policy"
	"github.com/capmon/capmon/internal/profile"
	"github.com/capmon/capmon/internal/report"
	"github.com/capmon/capmon/internal/settings"
)

// asked holds the flags of check that say what to keep to.
type asked struct {
	policy, baseline                       string
	deny, allow, denyGranted, allowGranted []string
	ignoreDenied, anyStart                 bool
}

func newCheck() *cobra.Command {
	var (
		asked  asked
		source source
		format string
		all    bool
	)
	cmd := &cobra.Command{
		Use:   "check [--policy FILE] [--baseline PROFILE] [--deny CAPABILITIES] [PROFILE...]",
		Short: "Check stored profiles against a policy, and fail if it is violated",
		Long: `Checks what the containers of the profiles, added up, used and were granted. Used is
what the workload needed, or tried in earnest and was refused; what the kernel merely
asked about is not. If anything is violated, the exit code is 1.

Several of --policy, --baseline, --deny and the like have to be kept to all at once.

Without profiles, all runs in the database are checked; of both, --container, --image and the
like select some.`,
		Example: `  capmon check --deny NET_RAW,SYS_ADMIN app.json
  capmon check --allow CHOWN,NET_BIND_SERVICE app.json
  capmon check --policy policy.yaml --baseline main.json branch.json
  capmon check --policy policy.yaml -o sarif app.json
  sudo capmon check --policy policy.yaml --since 7d`,
		RunE: func(cmd *cobra.Command, files []string) error {
			format, err := report.ParseCheckFormat(format)
			if err != nil {
				return err
			}
			rules, err := asked.rules(cmd)
			if err != nil {
				return err
			}
			p, err := source.load(cmd, files)
			if err != nil {
				return err
			}
			if len(p.Runs) == 0 {
				return errors.New("there is no container in what is to be checked: were any started while it was profiled?")
			}
			comparison, err := asked.compare(p)
			if err != nil {
				return err
			}
			result := policy.Check(p, rules, comparison)
			options := report.Options{All: all, Color: colored(cmd)}
			if err := report.WriteCheck(cmd.OutOrStdout(), result, format, options, versionText(), time.Now()); err != nil {
				return err
			}
			if !result.Passed() {
				return &exitError{exitFound}
			}
			return nil
		},
	}
	flags := cmd.Flags()
	flags.StringVarP(&format, "output", "o", string(report.Table), "form of the result: table, json, junit or sarif")
	flags.BoolVar(&all, "all", false, "show every way of a use that violates")
	source.register(flags)
	source.registerContainers(flags)
	flags.StringVar(&asked.policy, "policy", "", "file with rules to keep to")
	flags.StringVar(&asked.baseline, "baseline", "", "profile beyond whose needs none may be")
	flags.StringSliceVar(&asked.deny, "deny", nil, "capabilities that must not be used, separated by commas; ALL and DEFAULT are sets")
	flags.StringSliceVar(&asked.allow, "allow", nil, "the only capabilities that may be used; '' for none")
	flags.StringSliceVar(&asked.denyGranted, "deny-granted", nil, "capabilities that must not be granted, used or not")
	flags.StringSliceVar(&asked.allowGranted, "allow-granted", nil, "the only capabilities that may be granted; '' for none")
	flags.BoolVar(&asked.anyStart, settings.EvenIfStartUnseen, false, "containers that were running before they were watched do not violate --deny, --allow and --baseline by that alone")
	flags.BoolVar(&asked.ignoreDenied, "ignore-denied", false, "--deny and --allow are not about what was tried and refused")
	return cmd
}

// rules are those of the policy and those that flags make.
func (a asked) rules(cmd *cobra.Command) (policy.Policy, error) {
	var rules policy.Policy
	if a.policy != "" {
		var err error
		if rules, err = policy.Load(a.policy); err != nil {
			return policy.Policy{}, fmt.Errorf("policy %w", err)
		}
	}
	rules.EvenIfStartUnseen = rules.EvenIfStartUnseen || a.anyStart
	for _, flag := range []struct {
		name  string
		names []string
		rule  func(*policy.Rule) **policy.Capabilities
	}{
		{"deny", a.deny, func(r *policy.Rule) **policy.Capabilities { return &r.Deny }},
		{"allow", a.allow, func(r *policy.Rule) **policy.Capabilities { return &r.Allow }},
		{"deny-granted", a.denyGranted, func(r *policy.Rule) **policy.Capabilities { return &r.DenyGranted }},
		{"allow-granted", a.allowGranted, func(r *policy.Rule) **policy.Capabilities { return &r.AllowGranted }},
	} {
		if !cmd.Flags().Changed(flag.name) {
			continue
		}
		set, err := policy.ParseCapabilities(flag.names)
		if err != nil {
			return policy.Policy{}, fmt.Errorf("--%s: %w", flag.name, err)
		}
		if strings.HasPrefix(flag.name, "deny") && set.Empty() {
			return policy.Policy{}, fmt.Errorf("--%s is given no capability: an empty list denies nothing", flag.name)
		}
		rule := policy.Rule{Name: "--" + flag.name}
		*flag.rule(&rule) = &set
		if a.ignoreDenied {
			rule.Denied = policy.Allow
		}
		rules.Rules = append(rules.Rules, rule)
	}
	if len(rules.Rules) == 0 && a.baseline == "" {
		return policy.Policy{}, errors.New("nothing to check against: give --policy, --baseline, --deny, --allow, --deny-granted or --allow-granted")
	}
	return rules, nil
}

// compare compares with the baseline, if there is one.
func (a asked) compare(p profile.Profile) (*compare.Comparison, error) {
	if a.baseline == "" {
		return nil, nil
	}
	baseline, err := profile.Load(a.baseline)
	if err != nil {
		return nil, err
	}
	comparison, err := compare.Profiles(baseline, p, compare.Options{})
	if err != nil {
		return nil, fmt.Errorf("comparing with the baseline %s: %w; give the containers names that stay", a.baseline, err)
	}
	return &comparison, nil
}

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

// checkRules contains the flags of check that define rules.
type checkRules struct {
	policyFile, baseline                   string
	deny, allow, denyGranted, allowGranted []string
	ignoreDenied, anyStart                 bool
}

func newCheck() *cobra.Command {
	var (
		flagged checkRules
		waivers string
		input   profileInput
		format  choiceFlag
		all     bool
	)
	cmd := &cobra.Command{
		Use:   "check [--policy FILE] [--baseline PROFILE] [--deny CAPABILITIES] [PROFILE...]",
		Short: "Check profiles against a policy or a baseline",
		Long: `check adds the profiles up, and checks what each container used and was granted. A
capability counts as used if the workload needed it, or tried to use it and was denied.
The exit code is 1 if a container violates a rule.

The rules are in a policy file (--policy), or are the flags --baseline, --deny, --allow,
--deny-granted and --allow-granted. Every container must comply with all rules.

With --waivers, violations about capabilities that a waiver covers do not fail the
check. They are listed as waived. The output lists all waivers, also those that have
expired.

Without files, check reads the database. --container, --image and similar options
select runs from files and from the database.`,
		Example: `  capmon check --deny NET_RAW,SYS_ADMIN app.json
  capmon check --allow CHOWN,NET_BIND_SERVICE app.json
  capmon check --policy policy.yaml --baseline main.json branch.json
  capmon check --policy policy.yaml --waivers waivers.yaml app.json
  capmon check --policy policy.yaml -o sarif app.json
  capmon check --policy policy.yaml -o markdown app.json >>"$GITHUB_STEP_SUMMARY"
  sudo capmon check --policy policy.yaml --since 7d`,
		RunE: func(cmd *cobra.Command, files []string) error {
			rules, err := flagged.policy(cmd)
			if err != nil {
				return err
			}
			accepted, err := loadWaivers(waivers)
			if err != nil {
				return err
			}
			p, err := input.load(cmd, files)
			if err != nil {
				return err
			}
			if len(p.Runs) == 0 {
				return errors.New("the profiles contain no container: did a container run while capmon recorded?")
			}
			comparison, err := flagged.compare(p)
			if err != nil {
				return err
			}
			now := time.Now()
			result := policy.Check(p, rules, comparison)
			result.Waive(accepted.At(now))
			scope := joinScope(input.scope(files), flagged.scope())
			options := report.Options{All: all, Color: colored(cmd), Evidence: newEvidence(scope).WithRuns(p.Runs)}
			if err := report.WriteCheck(cmd.OutOrStdout(), result, report.Format(format.value), options, versionText(), now); err != nil {
				return err
			}
			if !result.Passed() {
				return &exitError{exitFindings}
			}
			return nil
		},
	}
	flags := cmd.Flags()
	registerOutput(flags, &format, report.CheckFormats()...)
	flags.BoolVar(&all, "all", false, "show every pattern of use that violates a rule")
	input.register(flags)
	input.registerContainers(flags)
	flags.StringVar(&flagged.policyFile, "policy", "", "check against the rules of the policy in this `FILE`")
	registerWaivers(flags, &waivers)
	flags.StringVar(&flagged.baseline, "baseline", "", "fail if a container needs or tries a capability that it neither needed nor tried in this `PROFILE`")
	flags.StringSliceVar(&flagged.deny, "deny", nil, "fail if one of these `CAPABILITIES` is used; separate them with commas; DEFAULT means the default of Docker, ALL all capabilities")
	flags.StringSliceVar(&flagged.allow, "allow", nil, "fail if a capability other than these `CAPABILITIES` is used; '' allows none")
	flags.StringSliceVar(&flagged.denyGranted, "deny-granted", nil, "fail if one of these `CAPABILITIES` is granted, used or not")
	flags.StringSliceVar(&flagged.allowGranted, "allow-granted", nil, "fail if a capability other than these `CAPABILITIES` is granted, used or not; '' allows none")
	flags.BoolVar(&flagged.anyStart, settings.EvenIfStartUnseen, false, "do not fail only because capmon did not see the start of a container")
	flags.BoolVar(&flagged.ignoreDenied, "ignore-denied", false, "--deny and --allow ignore capabilities that the container tried to use and was denied")
	return cmd
}

// policy returns the rules of the policy file and of the flags.
func (c checkRules) policy(cmd *cobra.Command) (policy.Policy, error) {
	var rules policy.Policy
	if c.policyFile != "" {
		var err error
		if rules, err = policy.Load(c.policyFile); err != nil {
			return policy.Policy{}, inFile("policy", err)
		}
	}
	rules.EvenIfStartUnseen = rules.EvenIfStartUnseen || c.anyStart
	for _, flag := range []struct {
		name  string
		names []string
		rule  func(*policy.Rule) **policy.Capabilities
	}{
		{"deny", c.deny, func(r *policy.Rule) **policy.Capabilities { return &r.Deny }},
		{"allow", c.allow, func(r *policy.Rule) **policy.Capabilities { return &r.Allow }},
		{"deny-granted", c.denyGranted, func(r *policy.Rule) **policy.Capabilities { return &r.DenyGranted }},
		{"allow-granted", c.allowGranted, func(r *policy.Rule) **policy.Capabilities { return &r.AllowGranted }},
	} {
		if !cmd.Flags().Changed(flag.name) {
			continue
		}
		set, err := policy.ParseCapabilities(flag.names)
		if err != nil {
			return policy.Policy{}, fmt.Errorf("--%s: %w", flag.name, err)
		}
		if strings.HasPrefix(flag.name, "deny") && set.Empty() {
			return policy.Policy{}, fmt.Errorf("--%s is empty, so it denies nothing: name at least one capability", flag.name)
		}
		rule := policy.Rule{Name: "--" + flag.name, IgnoreDenied: c.ignoreDenied}
		*flag.rule(&rule) = &set
		rules.Rules = append(rules.Rules, rule)
	}
	if len(rules.Rules) == 0 && c.baseline == "" {
		return policy.Policy{}, errors.New("nothing to check against: set --policy, --baseline, --deny, --allow, --deny-granted or --allow-granted")
	}
	return rules, nil
}

// compare compares p with the baseline; it returns nil without a baseline.
func (c checkRules) compare(p profile.Profile) (*compare.Comparison, error) {
	if c.baseline == "" {
		return nil, nil
	}
	baseline, err := profile.Load(c.baseline)
	if err != nil {
		return nil, err
	}
	comparison, err := compare.Profiles(baseline, p, compare.Options{})
	if err != nil {
		return nil, fmt.Errorf("comparing with the baseline %s: %w: give the containers fixed names", c.baseline, err)
	}
	return &comparison, nil
}

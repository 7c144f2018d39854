package container

import (
	"strings"
	"testing"
)

func TestFilter(t *testing.T) {
	info := Info{
		ID:    "0123456789ab" + strings.Repeat("c", 52),
		Name:  "shop-web-1",
		Image: "registry.example:5000/shop/web:1.2",
		Labels: map[string]string{
			"com.docker.compose.project": "shop",
			"tier":                       "front=end",
			"empty":                      "",
		},
	}
	official := Info{Image: "nginx:1.27"}
	for _, test := range []struct {
		name                  string
		names, images, labels []string
		info                  Info
		want                  bool
	}{
		{name: "no patterns", info: info, want: true},
		{name: "no patterns, nothing known", want: true},

		{name: "name", names: []string{"shop-web-1"}, info: info, want: true},
		{name: "name pattern", names: []string{"shop-*"}, info: info, want: true},
		{name: "part of the name", names: []string{"shop"}, info: info},
		{name: "one of two names", names: []string{"db", "shop-web-?"}, info: info, want: true},
		{name: "whole ID", names: []string{info.ID}, info: info, want: true},
		{name: "short ID", names: []string{"0123456789ab"}, info: info, want: true},
		{name: "longer ID", names: []string{"0123456789abcc"}, info: info, want: true},
		{name: "ID of 13 digits", names: []string{"0123456789abd"}, info: info},
		{name: "11 digits of the ID", names: []string{"0123456789a"}, info: info},
		{name: "wildcard with the beginning of the ID", names: []string{"0*"}, info: info},
		{name: "wildcard with 12 digits of the ID", names: []string{"0123456789ab*"}, info: info},
		{name: "wildcards for any digits", names: []string{"????????????"}, info: info},
		{name: "class with a digit of the ID", names: []string{"[0-9]*"}, info: info},
		{name: "escaped ID", names: []string{`\0123456789ab`}, info: info},
		{name: "any name", names: []string{"*"}, info: info, want: true},
		{name: "any name, none known", names: []string{"*"}, info: Info{ID: info.ID}, want: true},
		{name: "wildcard, no name known", names: []string{"0*"}, info: Info{ID: info.ID}},
		{name: "short ID, no name known", names: []string{"0123456789ab"}, info: Info{ID: info.ID}, want: true},
		{name: "ID that capmon gave", names: []string{"cgroup-47110"}, info: Info{ID: "cgroup-47110"}, want: true},
		{name: "beginning of an ID that capmon gave", names: []string{"cgroup-47110"}, info: Info{ID: "cgroup-471108"}},
		{name: "wildcard for IDs that capmon gave", names: []string{"c*"}, info: Info{ID: "cgroup-47110"}},
		{name: "empty name", names: []string{""}, info: Info{Name: "web"}},
		{name: "beginning of an ID that may be a name", names: []string{"0123"}, info: info},
		{name: "another ID", names: []string{"ffff456789ab"}, info: info},

		{name: "image", images: []string{"registry.example:5000/shop/web:1.2"}, info: info, want: true},
		{name: "image without its tag", images: []string{"registry.example:5000/shop/web"}, info: info, want: true},
		{name: "image, another tag", images: []string{"registry.example:5000/shop/web:1.*"}, info: info, want: true},
		{name: "image, wrong tag", images: []string{"registry.example:5000/shop/web:2.*"}, info: info},
		{name: "image pattern does not cross a slash", images: []string{"registry*"}, info: info},
		{name: "registry without image", images: []string{"registry.example"}, info: info},
		{name: "official image", images: []string{"nginx"}, info: official, want: true},
		{name: "official image in full", images: []string{"docker.io/library/nginx:1.*"}, info: official, want: true},
		{name: "image by digest", images: []string{"nginx"}, info: Info{Image: "nginx@sha256:" + strings.Repeat("a", 64)}, want: true},
		{name: "image by ID", images: []string{"abcd*"}, info: Info{Image: strings.Repeat("abcd", 16)}, want: true},

		{name: "label", labels: []string{"empty"}, info: info, want: true},
		{name: "label with an empty value", labels: []string{"empty="}, info: info, want: true},
		{name: "label without that value", labels: []string{"tier="}, info: info},
		{name: "label and value", labels: []string{"com.docker.compose.project=shop"}, info: info, want: true},
		{name: "label and another value", labels: []string{"com.docker.compose.project=pay"}, info: info},
		{name: "label patterns", labels: []string{"com.*.project=s*"}, info: info, want: true},
		{name: "value with =", labels: []string{"tier=front=end"}, info: info, want: true},
		{name: "no such label", labels: []string{"nope"}, info: info},
		{name: "label, none known", labels: []string{"*"}, info: official},

		{name: "all kinds", names: []string{"shop-*"}, images: []string{"*/shop/web"}, labels: []string{"tier"}, info: info, want: true},
		{name: "all kinds, one does not match", names: []string{"shop-*"}, images: []string{"nginx"}, labels: []string{"tier"}, info: info},
	} {
		t.Run(test.name, func(t *testing.T) {
			filter, err := NewFilter(test.names, test.images, test.labels)
			if err != nil {
				t.Fatal(err)
			}
			if got := filter.Match(test.info); got != test.want {
				t.Errorf("got %v", got)
			}
		})
	}
}

func TestRedactedValuesMayMatch(t *testing.T) {
	info := Info{Labels: KeptLabels{"ke?t"}.Of(map[string]string{"kept": "yes", "secret": "hunter2", "empty": "", "com.docker.compose.service": "web"})}
	for label, want := range map[string][2]bool{
		"kept=yes":                       {true, true},
		"kept=no":                        {false, false},
		"secret":                         {true, true},
		"secret=hunter2":                 {false, true},
		"secret=*":                       {false, true},
		"*=hunter2":                      {false, true},
		"empty=":                         {true, true},
		"empty=x":                        {false, false},
		"com.docker.compose.service=web": {true, true},
		"com.docker.compose.service=db":  {false, false},
	} {
		filter, err := NewFilter(nil, nil, []string{label})
		if err != nil {
			t.Fatal(err)
		}
		if got := [2]bool{filter.Match(info), filter.MayMatch(info)}; got != want {
			t.Errorf("%s: matches and may match: %v, want %v", label, got, want)
		}
	}
	if _, err := NewKeptLabels([]string{"a["}); err == nil {
		t.Error("a malformed pattern was accepted")
	}
}

func TestNewFilterRejectsMalformedPatterns(t *testing.T) {
	bad := []string{"we[b"}
	for name, make := range map[string]func() (Filter, error){
		"name":        func() (Filter, error) { return NewFilter(bad, nil, nil) },
		"image":       func() (Filter, error) { return NewFilter(nil, bad, nil) },
		"label":       func() (Filter, error) { return NewFilter(nil, nil, bad) },
		"label value": func() (Filter, error) { return NewFilter(nil, nil, []string{"a=b[c"}) },
		// Parsed as a whole, it would be a character class that contains =.
		"label key": func() (Filter, error) { return NewFilter(nil, nil, []string{"a[=b]"}) },
	} {
		if _, err := make(); err == nil || !strings.Contains(err.Error(), "[") {
			t.Errorf("%s: got %v; want an error with the pattern", name, err)
		}
	}
}

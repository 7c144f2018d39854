package store

import (
	"testing"
	"time"

	"github.com/capmon/capmon/internal/profile"
)

// BenchmarkPut repeatedly puts a hundred ongoing runs with a hundred uses each.
func BenchmarkPut(b *testing.B) {
	var runs []profile.Run
	for minute := range 100 {
		r := run("web", "nginx", minute)
		for range 99 {
			r.Uses = append(r.Uses, r.Uses[0])
		}
		runs = append(runs, r)
	}
	p := profile.New(runs...)
	for name, change := range map[string]func(*profile.Run){
		"same": func(*profile.Run) {},
		"time": func(r *profile.Run) { r.Observation.End = r.Observation.End.Add(time.Second) },
		"everything": func(r *profile.Run) {
			r.Observation.End, r.Uses[0].Count = r.Observation.End.Add(time.Second), r.Uses[0].Count+1
		},
	} {
		b.Run(name, func(b *testing.B) {
			s := fresh(b)
			put(b, s, p)
			for b.Loop() {
				for i := range p.Runs {
					change(&p.Runs[i])
				}
				put(b, s, p)
			}
		})
	}
}

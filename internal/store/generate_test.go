package store

import (
	"fmt"
	"math"
	"math/rand"
	"reflect"
	"time"

	"github.com/capmon/capmon/capability"
	"github.com/capmon/capmon/internal/alert"
	"github.com/capmon/capmon/internal/classify"
	"github.com/capmon/capmon/internal/profile"
)

// saturday is the base of all times in these tests.
var saturday = time.Date(2026, 8, 1, 12, 0, 0, 0, time.UTC)

func pick[T any](r *rand.Rand, of ...T) T { return of[r.Intn(len(of))] }

// generate sets all fields of a value, also those added in the future, to one of a few values. Some of them are
// hostile.
func generate(r *rand.Rand, value reflect.Value) {
	switch target := value.Addr().Interface().(type) {
	case *time.Time:
		*target = saturday.Add(time.Duration(r.Intn(3)) * time.Minute).In(pick(r, time.UTC, time.FixedZone("", 7200)))
		return
	case *capability.Capability:
		*target = pick(r, capability.Chown, capability.NetRaw, 41, 63)
		return
	case *capability.Set:
		*target = capability.Set(pick[uint64](r, 0, 1, 5, math.MaxUint64))
		return
	case *classify.Class:
		*target = pick(r, classify.Classes()...)
		return
	}
	switch value.Kind() {
	case reflect.String:
		value.SetString(pick(r, "", "web", "'; DROP TABLE runs; --", "a\x00b", "\x1b[2J\n", "no\xff\xfeUTF-8", "\u2028\ufffd<é>"))
	case reflect.Bool:
		value.SetBool(r.Intn(2) == 0)
	case reflect.Uint16, reflect.Uint32, reflect.Uint64:
		value.SetUint(pick[uint64](r, 0, 1, 2, math.MaxUint32, math.MaxUint64) & (1<<value.Type().Bits() - 1))
	case reflect.Int:
		value.SetInt(int64(r.Intn(3)))
	case reflect.Float64:
		value.SetFloat(pick(r, 0, 0.1, 1e300))
	case reflect.Pointer:
		if r.Intn(2) == 0 {
			value.Set(reflect.New(value.Type().Elem()))
			generate(r, value.Elem())
		}
	case reflect.Slice:
		for range r.Intn(3) {
			element := reflect.New(value.Type().Elem()).Elem()
			generate(r, element)
			value.Set(reflect.Append(value, element))
		}
	case reflect.Map:
		value.Set(reflect.MakeMap(value.Type()))
		for range r.Intn(3) {
			key, element := reflect.New(value.Type().Key()).Elem(), reflect.New(value.Type().Elem()).Elem()
			generate(r, key)
			generate(r, element)
			value.SetMapIndex(key, element)
		}
	case reflect.Struct:
		for i := range value.NumField() {
			generate(r, value.Field(i))
		}
	default:
		panic(fmt.Sprintf("no values for type %s", value.Type()))
	}
}

func generateRun(r *rand.Rand) (run profile.Run) {
	generate(r, reflect.ValueOf(&run).Elem())
	run.ID = fmt.Sprint("observation/", r.Intn(4))
	return run
}

func generateProof(r *rand.Rand) (proof profile.Proof) {
	generate(r, reflect.ValueOf(&proof).Elem())
	proof.ID = fmt.Sprint("proof-", r.Intn(2))
	return proof
}

func generateAlert(r *rand.Rand) (a alert.Alert) {
	generate(r, reflect.ValueOf(&a).Elem())
	return a
}

func generateProfile(r *rand.Rand) profile.Profile {
	p := profile.New()
	for range r.Intn(4) {
		p.Runs = append(p.Runs, generateRun(r))
	}
	for range r.Intn(2) {
		p.Proofs = append(p.Proofs, generateProof(r))
	}
	return p
}

// run returns a run of a container of an image that ended at a minute.
func run(name, image string, minute int) profile.Run {
	at := saturday.Add(time.Duration(minute) * time.Minute)
	defaults := capability.DockerDefault()
	return profile.Run{
		ID:          fmt.Sprintf("observation/%s/%d", name, minute),
		Observation: profile.Observation{ID: "observation", Kernel: "6.1", Hook: "fexit", Start: saturday, End: at},
		Container: profile.Container{
			ID: fmt.Sprintf("%064x", minute), Name: name, Image: image, ImageID: "sha256:" + image,
			Labels: map[string]string{"com.docker.compose.project": "shop", "com.docker.compose.service": name},
		},
		Grants:  profile.Grants{Kernel: &defaults},
		Started: &saturday, Ended: at, Checks: 3, Incomplete: []string{},
		Uses: []profile.UsePattern{{
			Capability: capability.Chown, Class: classify.Required, Granted: true, Program: "chown", Call: "fchownat",
			Site: "setattr_prepare", Count: 3, First: saturday, Last: at,
		}},
	}
}

// Package examples tests the examples that are programs.
package examples

import (
	"bytes"
	"go/ast"
	"go/parser"
	"go/token"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// goCommand runs the go command in a directory, with the modules of the module cache only.
func goCommand(t *testing.T, directory string, arguments ...string) string {
	t.Helper()
	cmd := exec.Command("go", arguments...)
	cmd.Dir = directory
	cmd.Env = append(os.Environ(), "GOFLAGS=-mod=mod", "GOPROXY=off", "GOWORK=off")
	var failed bytes.Buffer
	cmd.Stderr = &failed
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("go %s: %v (go mod tidy in examples/monitor updates its go.mod and go.sum)\n%s", strings.Join(arguments, " "), err, &failed)
	}
	return string(out)
}

// Another module can use package monitor. It does not have to build the Docker client or a logger.
func TestOtherModulesCanUseMonitor(t *testing.T) {
	root, err := filepath.Abs("..")
	if err != nil {
		t.Fatal(err)
	}
	directory := t.TempDir()
	if err := os.CopyFS(directory, os.DirFS("monitor")); err != nil {
		t.Fatal(err)
	}
	goCommand(t, directory, "mod", "edit", "-replace=github.com/capmon/capmon="+root)
	goCommand(t, directory, "build", "-o", os.DevNull, ".")
	before, err := os.ReadFile("monitor/go.sum")
	if err != nil {
		t.Fatal(err)
	}
	if after, err := os.ReadFile(filepath.Join(directory, "go.sum")); err != nil || !bytes.Equal(before, after) {
		t.Errorf("the build changed go.sum: run go mod tidy in examples/monitor (%v)", err)
	}
	for dependency := range strings.FieldsSeq(goCommand(t, directory, "list", "-deps", ".")) {
		for _, unwanted := range []string{"go.uber.org/zap", "github.com/sirupsen/logrus", "github.com/docker/", "github.com/capmon/capmon/internal/container/"} {
			if strings.HasPrefix(dependency+"/", unwanted) {
				t.Errorf("package monitor imports %s", dependency)
			}
		}
	}
}

// Other modules cannot name types of internal packages, except with an alias.
func TestPublicPackagesExportNoInternalTypes(t *testing.T) {
	for _, directory := range []string{"../capability", "../monitor", "../syscalls"} {
		paths, err := filepath.Glob(directory + "/*.go")
		if err != nil || len(paths) == 0 {
			t.Fatalf("no files in %s: %v", directory, err)
		}
		for _, path := range paths {
			if strings.HasSuffix(path, "_test.go") {
				continue
			}
			file, err := parser.ParseFile(token.NewFileSet(), path, nil, parser.SkipObjectResolution)
			if err != nil {
				t.Fatal(err)
			}
			internal := internalImports(file)
			for _, node := range exportedTypes(file) {
				ast.Inspect(node, func(n ast.Node) bool {
					if selector, ok := n.(*ast.SelectorExpr); ok {
						if name, ok := selector.X.(*ast.Ident); ok && internal[name.Name] {
							t.Errorf("%s exports %s.%s", path, name.Name, selector.Sel.Name)
						}
					}
					return true
				})
			}
		}
	}
}

// internalImports returns the names of the internal packages that a file imports.
func internalImports(file *ast.File) map[string]bool {
	names := make(map[string]bool)
	for _, spec := range file.Imports {
		if path := strings.Trim(spec.Path.Value, `"`); strings.Contains(path, "/internal/") {
			names[filepath.Base(path)] = true
		}
	}
	return names
}

// exportedTypes returns the types in the exported declarations of a file: signatures of functions, fields, and types of
// variables.
func exportedTypes(file *ast.File) (all []ast.Node) {
	for _, declaration := range file.Decls {
		switch d := declaration.(type) {
		case *ast.FuncDecl:
			if d.Name.IsExported() && (d.Recv == nil || isExportedType(d.Recv.List[0].Type)) {
				all = append(all, d.Type)
			}
		case *ast.GenDecl:
			for _, spec := range d.Specs {
				all = append(all, exportedOfSpec(spec)...)
			}
		}
	}
	return all
}

func exportedOfSpec(spec ast.Spec) (all []ast.Node) {
	switch s := spec.(type) {
	case *ast.ValueSpec:
		if s.Names[0].IsExported() && s.Type != nil {
			all = append(all, s.Type)
		}
	case *ast.TypeSpec:
		structure, isStruct := s.Type.(*ast.StructType)
		switch {
		case !s.Name.IsExported() || s.Assign.IsValid():
		case !isStruct:
			all = append(all, s.Type)
		default:
			for _, field := range structure.Fields.List {
				if len(field.Names) == 0 || field.Names[0].IsExported() {
					all = append(all, field.Type)
				}
			}
		}
	}
	return all
}

func isExportedType(receiver ast.Expr) bool {
	if pointer, ok := receiver.(*ast.StarExpr); ok {
		receiver = pointer.X
	}
	name, ok := receiver.(*ast.Ident)
	return ok && name.IsExported()
}

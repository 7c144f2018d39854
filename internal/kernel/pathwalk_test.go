package kernel

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// tree makes a directory with files, links, and a FIFO, which must not be opened.
func tree(t *testing.T) string {
	t.Helper()
	root := filepath.Join(t.TempDir(), "root")
	outside := filepath.Join(filepath.Dir(root), "outside")
	err := errors.Join(
		os.MkdirAll(filepath.Join(root, "a/b"), 0o755),
		os.WriteFile(filepath.Join(root, "a/b/file"), nil, 0o640),
		os.WriteFile(filepath.Join(root, "top"), nil, 0o600),
		os.WriteFile(outside, nil, 0o600),
		os.Symlink("/a/b", filepath.Join(root, "absolute")),
		os.Symlink("../../../../outside", filepath.Join(root, "a/out")),
		os.Symlink("../top", filepath.Join(root, "a/up")),
		os.Symlink("round", filepath.Join(root, "round")),
		unix.Mkfifo(filepath.Join(root, "fifo"), 0o600),
	)
	if err != nil {
		t.Fatal(err)
	}
	return root
}

func TestPathsAreFollowedWithinTheirRoot(t *testing.T) {
	root := tree(t)
	for _, test := range []struct {
		path     string
		found    string // "" for none
		searched string
	}{
		{"/a/b/file", "/a/b/file", "/ /a /a/b"},
		{"//a/./b/../b//file", "/a/b/file", "/ /a /a /a/b /a /a/b"},
		{"/absolute/file", "/a/b/file", "/ / /a /a/b"},
		{"/a/up", "/top", "/ /a /a /"},
		{"/a/out", "", "/ /a /a / / / /"}, // files outside the root directory are not found
		{"/../../top", "/top", "/ / /"},
		{"/a/b", "/a/b", "/ /a"},
		{"/", "/", ""},
		{"/fifo", "/fifo", "/"},
		{"/a/new", "", "/ /a"},
	} {
		w, err := NewWalker(root)
		if err != nil {
			t.Fatal(err)
		}
		walk, err := w.Go(test.path, true)
		w.Close()
		if err != nil {
			t.Errorf("%s: %v", test.path, err)
			continue
		}
		found := ""
		if walk.File != nil {
			found = walk.File.Path
		}
		var searched []string
		for _, directory := range walk.Directories {
			searched = append(searched, directory.Path)
		}
		if got := strings.Join(searched, " "); found != test.found || got != test.searched {
			t.Errorf("%s: found %q, searched %q, want %q, searched %q", test.path, found, got, test.found, test.searched)
		}
	}
}

func TestInvalidPaths(t *testing.T) {
	root := tree(t)
	for path, want := range map[string]error{
		"/none/file": os.ErrNotExist, "/round": unix.ELOOP, "/top/file": unix.ENOTDIR,
		"/" + strings.Repeat("a/../", 2000): unix.ELOOP, "/" + strings.Repeat("n", 300): unix.ENAMETOOLONG,
	} {
		w, err := NewWalker(root)
		if err != nil {
			t.Fatal(err)
		}
		if walk, err := w.Go(path, true); !errors.Is(err, want) {
			t.Errorf("%.20s: %+v, %v, want %v", path, walk.File, err, want)
		}
		w.Close()
	}
}

func TestGoCanStopAtALink(t *testing.T) {
	w, err := NewWalker(tree(t))
	if err != nil {
		t.Fatal(err)
	}
	defer w.Close()
	walk, err := w.Go("/a/up", false)
	if err != nil || walk.File == nil || walk.File.Path != "/a/up" || walk.File.Mode&unix.S_IFMT != unix.S_IFLNK {
		t.Errorf("%+v, %v", walk.File, err)
	}
}

// A relative path begins at the walker's position, an absolute one at the root directory, which MakeRoot changes.
func TestPathsBeginAtThePositionOrTheRoot(t *testing.T) {
	w, err := NewWalker(tree(t))
	if err != nil {
		t.Fatal(err)
	}
	defer w.Close()
	if _, err := w.Go("/a", false); err != nil {
		t.Fatal(err)
	}
	if walk, err := w.Go("b/file", true); err != nil || walk.File == nil || walk.File.Path != "/a/b/file" || len(walk.Directories) != 2 {
		t.Errorf("below a directory: %+v, %v", walk, err)
	}
	if _, err := w.Go("/a", false); err != nil {
		t.Fatal(err)
	}
	w.MakeRoot()
	if walk, err := w.Go("/../b/file", true); err != nil || walk.File == nil || walk.File.Path != "/a/b/file" {
		t.Errorf("in another root: %+v, %v", walk, err)
	}
}

// The memory for a path is limited, even if long links lead to it.
func TestLongPathsAreNotFollowed(t *testing.T) {
	root := t.TempDir()
	name := strings.Repeat("d", 200)
	down := strings.Repeat(name+"/", 15)
	directory, err := os.OpenRoot(root)
	if err != nil {
		t.Fatal(err)
	}
	for range 5 {
		err := errors.Join(directory.MkdirAll(down, 0o755), directory.Symlink(down, "n"))
		if err != nil {
			t.Fatal(err)
		}
		if directory, err = directory.OpenRoot(strings.TrimSuffix(down, "/")); err != nil {
			t.Fatal(err)
		}
	}
	for path, want := range map[string]error{"/n": nil, "/n/n/n/n/n": unix.ENAMETOOLONG} {
		w, err := NewWalker(root)
		if err != nil {
			t.Fatal(err)
		}
		walk, err := w.Go(path, true)
		w.Close()
		if !errors.Is(err, want) || walk.Size() > 2*maxBytes {
			t.Errorf("%s: %d bytes, %v", path, walk.Size(), err)
		}
	}
}

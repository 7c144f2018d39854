// Package page_test runs the pages of capmon in a browser, as their readers do.
package page_test

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/chromedp/cdproto/cdp"
	"github.com/chromedp/cdproto/emulation"
	"github.com/chromedp/cdproto/input"
	"github.com/chromedp/cdproto/log"
	"github.com/chromedp/cdproto/network"
	cdppage "github.com/chromedp/cdproto/page"
	"github.com/chromedp/cdproto/runtime"
	"github.com/chromedp/chromedp"

	"github.com/capmon/capmon/internal/page"
	"github.com/capmon/capmon/internal/testutil"
)

var (
	// chromium is the context of the browser that all tests have in common.
	chromium context.Context
	close    = func() {}
	start    = sync.OnceValue(startBrowser)
)

func TestMain(m *testing.M) {
	code := m.Run()
	close()
	os.Exit(code)
}

func startBrowser() error {
	options := append(slices.Clone(chromedp.DefaultExecAllocatorOptions[:]),
		chromedp.ExecPath("chromium"), chromedp.Flag("headless", "new"), chromedp.DisableGPU, chromedp.WSURLReadTimeout(time.Minute))
	if os.Geteuid() == 0 { // chromium has no sandbox for root
		options = append(options, chromedp.NoSandbox)
	}
	allocator, end := chromedp.NewExecAllocator(context.Background(), options...)
	var stop context.CancelFunc
	chromium, stop = chromedp.NewContext(allocator)
	close = func() { stop(); end() }
	return chromedp.Do(chromium)
}

// tab is a page that a test has opened.
type tab struct {
	testing.TB
	context.Context
	mu       sync.Mutex
	faults   []string
	requests []string
}

// written returns the HTML of a page.
func written(t testing.TB, p page.Page) []byte {
	t.Helper()
	var out bytes.Buffer
	if err := page.Write(&out, p); err != nil {
		t.Fatal(err)
	}
	return out.Bytes()
}

// newTab opens an empty tab, which collects what a page reports and requests.
func newTab(t testing.TB) *tab {
	t.Helper()
	testutil.NeedCommand(t, "chromium", "--version")
	if err := start(); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := chromedp.NewContext(chromium)
	t.Cleanup(cancel)
	if err := chromedp.Do(ctx); err != nil {
		t.Fatal(err)
	}
	ctx, timeout := context.WithTimeout(ctx, 5*time.Minute) // the machine may be busy
	t.Cleanup(timeout)
	tab := &tab{TB: t, Context: ctx}
	if err := chromedp.Listen(ctx, tab.listen); err != nil {
		t.Fatal(err)
	}
	call(tab, runtime.Enable, cdp.Empty{})
	call(tab, network.Enable, network.EnableParams{})
	call(tab, log.Enable, cdp.Empty{})
	call(tab, emulation.SetFocusEmulationEnabled, emulation.SetFocusEmulationEnabledParams{Enabled: true})
	tab.size(1280, 900)
	return tab
}

// open opens a page from a file. fragment is the part of the address after #. When the test ends, it verifies that the
// page reported no error and requested nothing.
func open(t testing.TB, text []byte, fragment string, before ...func(*tab)) *tab {
	t.Helper()
	file := filepath.Join(t.TempDir(), "page.html")
	if err := os.WriteFile(file, text, 0o600); err != nil {
		t.Fatal(err)
	}
	tab := newTab(t)
	for _, f := range before {
		f(tab)
	}
	address := "file://" + file
	if fragment != "" {
		address += "#" + fragment
	}
	tab.do(chromedp.Navigate(address))
	t.Cleanup(func() {
		tab.mu.Lock()
		defer tab.mu.Unlock()
		for _, fault := range tab.faults {
			t.Errorf("the page reports: %s", fault)
		}
		if len(tab.requests) != 1 {
			t.Errorf("the page requests %q", tab.requests)
		}
	})
	return tab
}

func (t *tab) listen(event any) {
	t.mu.Lock()
	defer t.mu.Unlock()
	switch e := event.(type) {
	case *runtime.EventExceptionThrown:
		text := e.ExceptionDetails.Text
		if e.ExceptionDetails.Exception != nil {
			text += " " + e.ExceptionDetails.Exception.Description
		}
		t.faults = append(t.faults, text)
	case *runtime.EventConsoleAPICalled:
		t.faults = append(t.faults, fmt.Sprint("console: ", e.Type))
	case *log.EventEntryAdded:
		t.faults = append(t.faults, e.Entry.Text)
	case *cdppage.EventJavascriptDialogOpening:
		t.faults = append(t.faults, "a dialog: "+e.Message)
	case *network.EventRequestWillBeSent:
		t.requests = append(t.requests, e.Request.URL)
	}
}

func (t *tab) do(actions ...chromedp.Action[chromedp.Void]) {
	t.Helper()
	if err := chromedp.Do(t, actions...); err != nil {
		t.Fatal(err)
	}
}

// call runs a command of the browser.
func call[P, R any](t *tab, command cdp.Command[P, R], params P) R {
	t.Helper()
	result, err := chromedp.Call(t, command, params)
	if err != nil {
		t.Fatal(err)
	}
	return result
}

func (t *tab) size(width, height int64) {
	t.Helper()
	t.do(chromedp.EmulateViewport(width, height))
}

// theme returns a function that sets the reader's preference.
func theme(name string) func(*tab) {
	return func(t *tab) {
		t.Helper()
		call(t, emulation.SetEmulatedMedia, emulation.SetEmulatedMediaParams{Features: []*emulation.MediaFeature{{Name: "prefers-color-scheme", Value: name}}})
	}
}

// withoutScripts makes the browser run no scripts of pages.
func withoutScripts(t *tab) {
	t.Helper()
	call(t, emulation.SetScriptExecutionDisabled, emulation.SetScriptExecutionDisabledParams{Value: true})
}

// eval returns the value of an expression in the page.
func eval[T any](t *tab, expression string) T {
	t.Helper()
	text, err := chromedp.Run(t, chromedp.Evaluate[string]("(async () => JSON.stringify(await ("+expression+") ?? null))()", chromedp.EvalAwaitPromise))
	if err != nil {
		t.Fatalf("%s: %v", expression, err)
	}
	var value T
	if err := json.Unmarshal([]byte(text), &value); err != nil {
		t.Fatalf("%s: %v in %s", expression, err, text)
	}
	return value
}

// expectTimeout is how long a test waits for a value. Most values are there at once, but the machine may be busy, and
// capmon serve may have to send something first.
const expectTimeout = time.Minute

// expect verifies the value of an expression. The page may need some time to reach it.
func expect[T comparable](t *tab, expression string, want T) {
	t.Helper()
	var got T
	for start := time.Now(); time.Since(start) < expectTimeout; time.Sleep(20 * time.Millisecond) {
		if got = eval[T](t, expression); got == want {
			return
		}
	}
	t.Errorf("%s is %v, wanted %v", expression, got, want)
}

// titles returns the titles of the visible rows of the matrix, in a line.
const titles = `[...document.querySelectorAll("#grid tbody tr")].filter((row) => !row.hidden).map((row) => row.cells[0].textContent).join(" ")`

func (t *tab) press(keys ...string) {
	t.Helper()
	for _, key := range keys {
		t.do(chromedp.KeyEvent(key))
	}
}

// slash presses the key /. A page that handles the key can prevent that the browser types the letter, which the events
// of press do not allow.
func (t *tab) slash() {
	t.Helper()
	key := input.DispatchKeyEventParams{Type: input.DispatchKeyEventTypeKeyDown, Key: "/", Code: "Slash", Text: "/"}
	call(t, input.DispatchKeyEvent, key)
	key.Type, key.Text = input.DispatchKeyEventTypeKeyUp, ""
	call(t, input.DispatchKeyEvent, key)
}

// choose selects an option of a control.
func (t *tab) choose(id, value string) {
	t.Helper()
	eval[any](t, fmt.Sprintf("(() => { const e = document.getElementById(%q); e.value = %q; e.dispatchEvent(new Event('change')); })()", id, value))
}

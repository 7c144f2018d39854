package page_test

import (
	"os"
	"testing"

	"github.com/capmon/capmon/internal/report/reporttest"
)

func TestZZ(t *testing.T) {
	text := html(t, reporttest.Fleet(1000))
	os.WriteFile("/tmp/page/f1000.html", text, 0o644)
	tab := open(t, text, "")
	for range 4 {
		t.Log(eval[any](tab, `(() => { const r=[]; const q=document.getElementById("q"); q.focus(); document.body.offsetHeight;
		for (const v of ["vpn","", "vpn x", "api", ""]) { let a=performance.now(); q.value=v; q.dispatchEvent(new Event("input")); let b=performance.now(); document.body.offsetHeight; let c=performance.now(); r.push(v, Math.round(b-a), Math.round(c-b)); }
		return r.join(" ") })()`))
	}
}

package page_test

import (
	"testing"

	"github.com/capmon/capmon/internal/report/reporttest"
)

const attempts = 5

// The limits are for the fastest of several attempts, because other programs may use the processors.
func TestManyContainersAreFast(t *testing.T) {
	const containers = 1000
	text := html(t, reporttest.Fleet(containers))
	t.Logf("%d bytes for %d containers", len(text), containers)
	if len(text) > 6_000_000 {
		t.Errorf("the page has %d bytes", len(text))
	}
	paint, filter, sort := 1e9, 1e9, 1e9
	for range attempts {
		tab := open(t, text, "")
		expect(tab, `document.querySelectorAll("#grid tbody tr").length`, containers)
		expect(tab, `document.querySelectorAll("#grid thead .c").length`, 41)
		first := eval[float64](tab, `performance.getEntriesByName("first-contentful-paint")[0]?.startTime ?? 1e9`)
		ready := eval[float64](tab, `performance.getEntriesByType("navigation")[0].domContentLoadedEventEnd`)
		narrow, wide := eval[float64](tab, timed(`q.value = "vpn"; q.dispatchEvent(new Event("input"))`)), eval[float64](tab, timed(`q.value = ""; q.dispatchEvent(new Event("input"))`))
		sorting := eval[float64](tab, timed(`document.querySelectorAll("#grid thead button")[8].click()`))
		t.Logf("first paint after %.0f ms, ready after %.0f ms, filter %.0f ms and %.0f ms, sort %.0f ms", first, ready, narrow, wide, sorting)
		paint, filter, sort = min(paint, first), min(filter, max(narrow, wide)), min(sort, sorting)
	}
	if paint >= 1000 {
		t.Errorf("the first paint is after %.0f ms", paint)
	}
	if filter >= 50 {
		t.Errorf("the filter takes %.0f ms", filter)
	}
	if sort >= 500 {
		t.Errorf("sorting takes %.0f ms", sort)
	}
}

// timed returns an expression with the time in milliseconds that a change of the page takes, its layout included.
func timed(change string) string {
	return `(() => {
		const q = document.getElementById("q"), begin = performance.now();
		` + change + `;
		document.body.offsetHeight;
		return performance.now() - begin;
	})()`
}

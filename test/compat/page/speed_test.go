package page_test

import (
	"testing"

	"github.com/capmon/capmon/internal/page/pagetest"
)

const attempts = 5

// The limits are for the fastest of several attempts, because other programs may use the processors.
func TestManyContainersAreFast(t *testing.T) {
	const containers = 1000
	text := written(t, pagetest.Fleet(containers))
	t.Logf("%d bytes for %d containers", len(text), containers)
	if len(text) > 6_000_000 {
		t.Errorf("the page has %d bytes", len(text))
	}
	paint, narrow, wide, sort := 1e9, 1e9, 1e9, 1e9
	for range attempts {
		tab := open(t, text, "")
		expect(tab, `document.querySelectorAll("#grid tbody tr").length`, containers)
		expect(tab, `document.querySelectorAll("#grid thead .c").length`, 41)
		first := eval[float64](tab, `performance.getEntriesByName("first-contentful-paint")[0]?.startTime ?? 1e9`)
		ready := eval[float64](tab, `performance.getEntriesByType("navigation")[0].domContentLoadedEventEnd`)
		t.Logf("first paint after %.0f ms, ready after %.0f ms", first, ready)
		paint = min(paint, first)
		eval[any](tab, `document.getElementById("q").focus()`)
		for range attempts {
			narrow = min(narrow, eval[float64](tab, timed(`q.value = "vpn"; q.dispatchEvent(new Event("input"))`)))
			expect(tab, `document.getElementById("count").textContent`, "125 of 1000 rows")
			wide = min(wide, eval[float64](tab, timed(`q.value = ""; q.dispatchEvent(new Event("input"))`)))
			sort = min(sort, eval[float64](tab, timed(`document.querySelectorAll("#grid thead button")[8].click()`)))
		}
	}
	t.Logf("filter %.1f ms and %.1f ms, sort %.1f ms", narrow, wide, sort)
	for _, limit := range []struct {
		what      string
		got, want float64
	}{{"the first paint", paint, 1000}, {"a filter", narrow, 50}, {"removing a filter", wide, 50}, {"sorting", sort, 500}} {
		if limit.got >= limit.want {
			t.Errorf("%s takes %.0f ms", limit.what, limit.got)
		}
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

package page_test

import (
	"testing"

	"github.com/chromedp/cdproto/cdp"
	"github.com/chromedp/cdproto/performance"

	"github.com/capmon/capmon/internal/page/pagetest"
)

// The limits are for the processor time of the page's main thread, because other programs may use the processors.
// [TestManyContainersAreFast] also prints how long a reader waits.
const (
	mostForPage   = 1000 // milliseconds until the page is ready
	mostForFilter = 50
	mostForRows   = 500 // for rows that appear or move
)

const attempts = 5

func TestManyContainersAreFast(t *testing.T) {
	const containers = 1000
	text := written(t, pagetest.Fleet(containers))
	t.Logf("%d bytes for %d containers", len(text), containers)
	if len(text) > 6_000_000 {
		t.Errorf("the page has %d bytes", len(text))
	}
	ready, narrow, wide, sort := 1e9, 1e9, 1e9, 1e9
	for range attempts {
		tab := open(t, text, "", measured)
		expect(tab, `document.querySelectorAll("#grid tbody tr").length`, containers)
		expect(tab, `document.querySelectorAll("#grid thead .c").length`, 41)
		ready = min(ready, tab.busy())
		t.Logf("first paint after %.0f ms", eval[float64](tab, `performance.getEntriesByName("first-contentful-paint")[0]?.startTime ?? 1e9`))
		eval[any](tab, `document.getElementById("q").focus()`)
		for range attempts {
			narrow = min(narrow, tab.cost(`q.value = "vpn"; q.dispatchEvent(new Event("input"))`))
			expect(tab, `document.getElementById("count").textContent`, "125 of 1000 rows")
			wide = min(wide, tab.cost(`q.value = ""; q.dispatchEvent(new Event("input"))`))
			sort = min(sort, tab.cost(`document.querySelectorAll("#grid thead button")[8].click()`))
		}
	}
	for _, limit := range []struct {
		what      string
		got, most float64
	}{
		{"the page", ready, mostForPage},
		{"a filter", narrow, mostForFilter},
		{"removing a filter", wide, mostForRows},
		{"sorting", sort, mostForRows},
	} {
		t.Logf("%s takes %.1f ms", limit.what, limit.got)
		if limit.got >= limit.most {
			t.Errorf("%s takes %.0f ms of processor time", limit.what, limit.got)
		}
	}
}

// measured makes the browser measure the processor time of the page.
func measured(t *tab) {
	t.Helper()
	call(t, performance.Enable, performance.EnableParams{TimeDomain: performance.EnableTimeDomainThreadTicks})
}

// busy returns the processor time in milliseconds that the tasks of the page's main thread have used.
func (t *tab) busy() float64 {
	t.Helper()
	for _, metric := range call(t, performance.GetMetrics, cdp.Empty{}).Metrics {
		if metric.Name == "TaskDuration" {
			return metric.Value * 1000
		}
	}
	t.Fatal("the browser does not measure TaskDuration")
	return 0
}

// cost returns the processor time in milliseconds that a change of the page takes, its layout included.
func (t *tab) cost(change string) float64 {
	t.Helper()
	before := t.busy()
	eval[any](t, `(() => { const q = document.getElementById("q"); `+change+`; document.body.offsetHeight; })()`)
	return t.busy() - before
}

package page_test

import (
	"fmt"
	"os"
	"strings"
	"testing"

	"github.com/chromedp/cdproto/browser"
	"github.com/chromedp/cdproto/emulation"
	"github.com/chromedp/chromedp"
	"github.com/chromedp/chromedp/kb"

	"github.com/capmon/capmon/internal/page"
	"github.com/capmon/capmon/internal/page/pagetest"
	"github.com/capmon/capmon/internal/profile"
	"github.com/capmon/capmon/internal/testutil"
)

// The first rows of the page of eight containers.
const gravest = "shop-1-ci-runner-1 shop-1-vpn-1 shop-1-web-1"

func fleet(t testing.TB) []byte { return written(t, pagetest.Fleet(8)) }

// The template and the script show a page in the same form.
func TestTheScriptShowsWhatTheTemplateShows(t *testing.T) {
	for name, p := range map[string]page.Page{
		"report": pagetest.Fleet(8), "audit": page.OfAudit(pagetest.Audit(8, nil), pagetest.Options),
		"diff": page.OfDiff(pagetest.Comparison(t, "containers"), pagetest.Options), "empty": page.OfProfile(profile.New(), pagetest.Options),
	} {
		t.Run(name, func(t *testing.T) {
			text := written(t, p)
			tab := open(t, text, "")
			// render draws everything again, and printing draws the details.
			eval[any](tab, `document.dispatchEvent(new CustomEvent("capmon-data", { detail: JSON.parse(document.getElementById("data").textContent) }))`)
			eval[any](tab, `dispatchEvent(new Event("beforeprint"))`)
			differences := eval[[]string](tab, fmt.Sprintf(`(() => {
				const template = new DOMParser().parseFromString(%q, "text/html");
				const form = (element) => {
					const copy = element.cloneNode(true);
					for (const each of [copy, ...copy.querySelectorAll("*")]) {
						for (const name of ["tabindex", "open", "role", "aria-sort"]) each.removeAttribute(name);
						if (each.parentElement?.tagName === "DETAILS") each.removeAttribute("id");
						if (each.hasAttribute("href")) each.setAttribute("href", decodeURIComponent(each.getAttribute("href")));
						if (each.tagName === "BUTTON") each.replaceWith(...each.childNodes);
					}
					return copy.outerHTML.replaceAll(/>\s+/g, ">").replaceAll(/\s+</g, "<");
				};
				const differences = [];
				for (const query of ["h1", "#figures", "#advice", "#notes", "#grid thead", "#grid tbody", "#states", "#statuses", "#details", "footer"]) {
					const [one, other] = [form(template.querySelector(query)), form(document.querySelector(query))];
					if (one === other) continue;
					const at = [...one].findIndex((c, i) => c !== other[i]);
					differences.push(query + ": " + one.slice(at - 60, at + 60) + " IS NOT " + other.slice(at - 60, at + 60));
				}
				return differences;
			})()`, text))
			for _, difference := range differences {
				t.Error(difference)
			}
		})
	}
}

func TestSort(t *testing.T) {
	tab := open(t, fleet(t), "")
	heading := func(n int) string { return fmt.Sprintf(`document.querySelectorAll("#grid thead button")[%d]`, n) }
	expect(tab, titles+`.startsWith("`+gravest+`")`, true)
	eval[any](tab, heading(0)+`.click()`)
	expect(tab, titles, "shop-1-api-1 shop-1-backup-1 shop-1-cache-1 shop-1-ci-runner-1 shop-1-db-1 shop-1-mail-1 shop-1-vpn-1 shop-1-web-1")
	expect(tab, heading(0)+`.closest("th").ariaSort`, "ascending")
	expect(tab, `location.hash`, "#sort=Container")
	eval[any](tab, heading(0)+`.click()`)
	expect(tab, titles+`.split(" ")[0]`, "shop-1-web-1")
	expect(tab, heading(0)+`.closest("th").ariaSort`, "descending")
	eval[any](tab, heading(0)+`.click()`)
	expect(tab, titles+`.startsWith("`+gravest+`")`, true)
	expect(tab, heading(0)+`.closest("th").ariaSort`, "") // null
	eval[any](tab, heading(5)+`.click()`)                 // unused: most first
	expect(tab, titles+`.startsWith("shop-1-ci-runner-1 shop-1-vpn-1")`, true)
	eval[any](tab, heading(5)+`.click()`)
	expect(tab, titles+`.split(" ").slice(0, 2).join(" ")`, "shop-1-api-1 shop-1-backup-1")
	eval[any](tab, `[...document.querySelectorAll("#grid thead button")].find((b) => b.textContent === "KILL").click()`)
	expect(tab, titles+`.split(" ")[0]`, "shop-1-mail-1") // the only one that uses KILL
}

func TestFilter(t *testing.T) {
	tab := open(t, fleet(t), "")
	tab.slash()
	expect(tab, `document.activeElement.id`, "q")
	tab.press("postgres")
	expect(tab, titles, "shop-1-db-1")
	expect(tab, `document.getElementById("count").textContent`, "1 of 8 rows")
	expect(tab, `location.hash`, "#q=postgres")
	eval[any](tab, `(() => { q.value = ""; q.dispatchEvent(new Event("input")); })()`)
	expect(tab, `document.getElementById("count").textContent`, "8 rows")
	tab.choose("cap", "NET_ADMIN")
	expect(tab, titles, "shop-1-ci-runner-1 shop-1-vpn-1")
	tab.choose("state", "used")
	expect(tab, titles, "shop-1-vpn-1")
	tab.choose("cap", "")
	tab.choose("state", "soft")
	expect(tab, titles, "shop-1-backup-1")
	tab.choose("state", "")
	eval[any](tab, `document.querySelector("#grid tbody tr:not([hidden]) a").click()`) // opens a row, and keeps the choice
	tab.choose("cap", "NET_ADMIN")
	expect(tab, `location.hash`, "#container=shop-1-ci-runner-1&cap=NET_ADMIN")
	tab.press(kb.Escape)
	expect(tab, `location.hash`, "#cap=NET_ADMIN")
	tab.choose("cap", "")
	tab.choose("by", "image")
	expect(tab, titles+`.startsWith("gitlab/gitlab-runner:v17.1 registry.example.com/network/wireguard:2026.11")`, true)
}

// Everything works with the keyboard alone.
func TestKeyboard(t *testing.T) {
	tab := open(t, fleet(t), "")
	const focused = `document.activeElement.closest("th, td")?.textContent`
	expect(tab, `[...document.querySelectorAll("#grid a, #grid button, #grid td")].filter((e) => e.tabIndex === 0).length`, 1)
	eval[any](tab, `document.getElementById("theme").focus()`)
	tab.press(kb.Tab)
	expect(tab, focused, "Container")
	tab.press(kb.ArrowDown)
	expect(tab, focused, "shop-1-ci-runner-1")
	tab.press(kb.ArrowRight, kb.ArrowRight)
	expect(tab, focused, "gitlab/gitlab-runner:v17.1")
	tab.press(kb.PageDown)
	expect(tab, `document.activeElement.closest("tr").rowIndex`, 8)
	tab.press(kb.PageUp, kb.Home)
	expect(tab, focused, "Container")
	tab.press(kb.Enter)
	expect(tab, `location.hash`, "#sort=Container")
	tab.press(kb.Enter, kb.Enter, kb.ArrowDown, kb.End)
	expect(tab, focused, "unused")
	tab.press(kb.Home)
	expect(tab, focused, "shop-1-ci-runner-1")
	tab.press(kb.Enter)
	expect(tab, `document.getElementById("dialog").open`, true)
	expect(tab, `document.getElementById("dialog-title").textContent`, "shop-1-ci-runner-1")
	tab.press(kb.Escape)
	expect(tab, `document.getElementById("dialog").open`, false)
	expect(tab, focused, "shop-1-ci-runner-1")
	tab.slash()
	tab.press("vpn", kb.Tab, kb.Tab, kb.Tab, kb.Tab, kb.Tab)
	expect(tab, focused, "Container")
}

// Enter in the cell of a capability opens the evidence for it.
func TestACellOpensItsCapability(t *testing.T) {
	tab := open(t, fleet(t), "")
	eval[any](tab, `[...document.querySelectorAll("#grid tbody tr")].find((row) => row.textContent.includes("postgres")).querySelectorAll("td.su")[1].click()`)
	expect(tab, `document.querySelector("#dialog tr.chosen th").textContent`, "DAC_OVERRIDE")
	expect(tab, `location.hash`, "#container=shop-1-db-1&at=DAC_OVERRIDE")
	eval[any](tab, `history.back()`)
	expect(tab, `document.getElementById("dialog").open`, false)
}

func TestDeepLinks(t *testing.T) {
	text := written(t, pagetest.Fleet(24))
	tab := open(t, text, "container=shop-2-web-1&q=web&sort=-Container")
	expect(tab, `document.getElementById("dialog").open`, true)
	expect(tab, `document.getElementById("dialog-title").textContent`, "shop-2-web-1")
	expect(tab, `document.getElementById("q").value`, "web")
	eval[any](tab, `document.getElementById("close").click()`)
	expect(tab, `document.getElementById("dialog").open`, false)
	expect(tab, titles, "shop-3-web-1 shop-2-web-1 shop-1-web-1")
	expect(tab, `location.hash`, "#q=web&sort=-Container")
	eval[any](tab, `location.hash = "#by=namespace&row=shop-1"`)
	expect(tab, `document.querySelectorAll("#dialog tbody tr").length`, 8)
	eval[any](tab, `[...document.querySelectorAll("#dialog tbody a")].find((a) => a.textContent === "shop-1-web-1").click()`)
	expect(tab, `document.getElementById("dialog-title").textContent`, "shop-1-web-1")
	eval[any](tab, `location.hash = "#container=nobody&by=nothing&sort=nothing&cap=nothing&state=nothing"`)
	expect(tab, `document.getElementById("dialog").open`, false)
	expect(tab, `document.getElementById("count").textContent`, "24 rows")
}

func TestCopy(t *testing.T) {
	tab := open(t, fleet(t), "container=shop-1-web-1")
	for _, name := range []string{"clipboard-read", "clipboard-write"} {
		permission := browser.SetPermissionParams{Permission: &browser.PermissionDescriptor{Name: name}, Setting: browser.PermissionSettingGranted}
		if _, err := chromedp.CallBrowser(tab, browser.SetPermission, permission); err != nil {
			t.Fatal(err)
		}
	}
	expect(tab, `document.querySelector("#dialog .settings select").value`, "compose")
	eval[any](tab, `(() => { const s = document.querySelector("#dialog .settings select"); s.value = "docker"; s.dispatchEvent(new Event("change")); })()`)
	tab.do(chromedp.Click(chromedp.CSS("#dialog .settings button")))
	expect(tab, `document.querySelector("#dialog .settings [role=status]").textContent`, " copied")
	const want = "--cap-drop=ALL --cap-add=CHOWN --cap-add=NET_BIND_SERVICE --cap-add=SETGID --cap-add=SETUID"
	expect(tab, `navigator.clipboard.readText()`, want)
	eval[any](tab, `location.hash = "#container=shop-1-vpn-1"`)
	expect(tab, `document.querySelector("#dialog .settings select").value`, "docker") // the choice of the reader
	eval[any](tab, `location.hash = "#container=shop-1-cache-1"`)                     // capmon did not see its start
	expect(tab, `document.querySelectorAll("#dialog pre").length`, 0)
	expect(tab, `document.getElementById("dialog").textContent.includes("capmon did not see the start of the container")`, true)
}

func TestThemes(t *testing.T) {
	const back = `getComputedStyle(document.body).backgroundColor`
	tab := open(t, fleet(t), "", theme("dark"))
	dark := eval[string](tab, back)
	expect(tab, `document.getElementById("theme").textContent`, "Light theme")
	eval[any](tab, `document.getElementById("theme").click()`)
	light := eval[string](tab, back)
	if dark == light || light != "rgb(255, 255, 255)" {
		t.Errorf("dark %s, light %s", dark, light)
	}
	expect(tab, `document.getElementById("theme").textContent`, "Dark theme")
	for _, scheme := range []string{"light", "dark"} {
		eval[any](tab, fmt.Sprintf(`document.documentElement.dataset.theme = %q`, scheme))
		faint := eval[[]string](tab, lowContrast)
		if len(faint) > 0 {
			t.Errorf("%s: %q have a low contrast", scheme, faint)
		}
	}
}

// lowContrast returns the states and statuses whose color and background have a contrast below 4.5, as WCAG requires
// for text.
const lowContrast = `(() => {
	const luminance = (color) => {
		const [r, g, b] = color.match(/[\d.]+/g).map((c) => c / 255).map((c) => c <= .04045 ? c / 12.92 : ((c + .055) / 1.055) ** 2.4);
		return .2126 * r + .7152 * g + .0722 * b;
	};
	const table = document.querySelector("#grid table").cloneNode();
	document.body.append(table);
	const faint = [];
	const names = ["status fail", "status manual", "status waived", "status pass", "status unused", "status unsure", "status fits", "status proved",
		"status new", "status changed", "status gone", ...[..."abcdeghinopqrsuwx"].map((key) => "s" + key)];
	for (const name of names) {
		const cell = table.insertRow().insertCell();
		cell.className = name;
		const style = getComputedStyle(cell);
		const [one, other] = [luminance(style.color), luminance(style.backgroundColor)].sort((a, b) => b - a);
		if ((one + .05) / (other + .05) < 4.5) faint.push(name);
	}
	table.remove();
	return faint;
})()`

// The paper has the details of the containers that the reader filtered, and no controls.
func TestPrint(t *testing.T) {
	tab := open(t, fleet(t), "q=postgres")
	eval[any](tab, `addEventListener("beforeprint", () => { window.printed = document.getElementById("details").textContent; })`)
	pdf, err := chromedp.Run(tab, chromedp.PrintToPDF(chromedp.PDFPreferCSSPageSize(), chromedp.PDFPrintBackground()))
	if err != nil {
		t.Fatal(err)
	}
	if !strings.HasPrefix(string(pdf), "%PDF-") || len(pdf) < 10_000 {
		t.Errorf("%d bytes", len(pdf))
	}
	printed := eval[string](tab, `window.printed`)
	if !strings.Contains(printed, "cap_add: [CHOWN, DAC_OVERRIDE, FOWNER, SETGID, SETUID]") || strings.Contains(printed, "nginx") {
		t.Errorf("%s", printed)
	}
	expect(tab, `document.getElementById("details").childElementCount`, 0) // afterwards
	call(tab, emulation.SetEmulatedMedia, emulation.SetEmulatedMediaParams{Media: "print"})
	eval[any](tab, `dispatchEvent(new Event("beforeprint"))`)
	for query, visible := range map[string]bool{"#controls": false, "#keys": false, "#details": true, "#details .settings pre": true, "#grid": true, "#details button": false} {
		expect(tab, fmt.Sprintf(`(document.querySelector(%q)?.checkVisibility() ?? false)`, query), visible)
	}
	expect(tab, `getComputedStyle(document.getElementById("grid")).overflow`, "visible")
	const landscape = 1032 // the pixels between the margins of A4
	tab.size(landscape, 700)
	expect(tab, `document.documentElement.scrollWidth`, landscape)
}

// A reader without JavaScript can read everything.
func TestWithoutScripts(t *testing.T) {
	tab := open(t, fleet(t), "container=shop-1-db-1", withoutScripts)
	for query, visible := range map[string]bool{"#controls": false, "#grid tbody td.sx": true, "#details": true, "#dialog": false} {
		expect(tab, fmt.Sprintf(`document.querySelector(%q).checkVisibility()`, query), visible)
	}
	expect(tab, `document.querySelectorAll("#grid tbody tr").length`, 8)
	expect(tab, `document.querySelectorAll("#details details").length`, 8)
	expect(tab, `document.querySelector("#details details[open] h3").textContent`, "shop-1-db-1") // the link opens it
}

func TestHostileNames(t *testing.T) {
	for _, text := range pagetest.HostileTexts() {
		t.Run(fmt.Sprintf("%.20q", text), func(t *testing.T) {
			p := page.OfProfile(pagetest.Hostile(text), pagetest.Options)
			tab := open(t, written(t, p), "")
			expect(tab, `document.scripts.length`, 2)
			for range 2 { // from the template, and from the script
				expect(tab, `document.querySelectorAll("#grid tbody tr").length`, len(p.Views[0].Rows))
				eval[any](tab, `[...document.querySelectorAll("#grid tbody a")][0].click()`)
				expect(tab, `document.getElementById("dialog").open`, true)
				expect(tab, `document.querySelectorAll("#dialog img, #dialog script, #grid img, #grid script").length`, 0)
				expect(tab, `document.documentElement.scrollWidth <= innerWidth`, true)
				eval[any](tab, `document.getElementById("close").click()`)
				expect(tab, `document.getElementById("dialog").open`, false)
				eval[any](tab, `document.dispatchEvent(new CustomEvent("capmon-data", { detail: JSON.parse(document.getElementById("data").textContent) }))`)
			}
		})
	}
}

// Another value takes the place of the present one, and what the reader chose stays.
func TestDataCanBeReplaced(t *testing.T) {
	tab := open(t, fleet(t), "q=web&container=shop-1-web-1")
	more := open(t, written(t, pagetest.Fleet(24)), "")
	data := eval[string](more, `document.getElementById("data").textContent`)
	eval[any](tab, fmt.Sprintf(`document.dispatchEvent(new CustomEvent("capmon-data", { detail: JSON.parse(%q) }))`, data))
	expect(tab, titles, "shop-1-web-1 shop-2-web-1 shop-3-web-1")
	expect(tab, `document.getElementById("dialog-title").textContent`, "shop-1-web-1")
	expect(tab, `document.querySelector("#figures b").textContent`, "24")
	tab.press(kb.Escape)
	expect(tab, `document.getElementById("dialog").open`, false)
	eval[any](tab, `document.querySelector("#grid tbody tr:not([hidden])").cells[4].click()`)
	tab.press(kb.Escape)
	expect(tab, `document.activeElement.cellIndex`, 4)
	eval[any](tab, fmt.Sprintf(`document.dispatchEvent(new CustomEvent("capmon-data", { detail: JSON.parse(%q) }))`, data))
	expect(tab, `document.activeElement.cellIndex`, 4)
}

// axe finds barriers for readers with disabilities, according to WCAG 2.2 AA and good practice.
func TestAccessibility(t *testing.T) {
	const file = "../../../.cache/axe-core/axe.min.js"
	testutil.NeedCommand(t, "test", "-s", file)
	axe, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	pages := map[string]page.Page{
		"report": pagetest.Fleet(8), "audit": page.OfAudit(pagetest.Audit(8, nil), pagetest.Options),
		"diff": page.OfDiff(pagetest.Comparison(t, "unsure"), pagetest.Options), "many": pagetest.Fleet(120),
	}
	for name, p := range pages {
		text := written(t, p)
		for _, scheme := range []string{"light", "dark"} {
			for _, width := range []int64{360, 1920} {
				t.Run(fmt.Sprint(name, " ", scheme, " ", width), func(t *testing.T) {
					tab := open(t, text, "", theme(scheme))
					tab.size(width, 900)
					tab.do(chromedp.Evaluate[chromedp.Void](string(axe)))
					tab.withoutBarriers()
					expect(tab, `document.documentElement.scrollWidth <= innerWidth`, true)
					eval[any](tab, `document.querySelector("#grid tbody a").click()`)
					expect(tab, `document.getElementById("dialog").open`, true)
					tab.withoutBarriers()
					expect(tab, `(() => { const d = document.getElementById("dialog"); return d.scrollWidth <= d.clientWidth; })()`, true)
				})
			}
		}
	}
}

func (t *tab) withoutBarriers() {
	t.Helper()
	violations := eval[[]string](t, `axe.run({ runOnly: ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice"] })
		.then((result) => result.violations.map((v) => v.id + ": " + v.help + ": " + v.nodes.slice(0, 3).map((n) => n.html.slice(0, 200) + " " + n.failureSummary).join(" AND ")))`)
	for _, violation := range violations {
		t.Error(violation)
	}
}

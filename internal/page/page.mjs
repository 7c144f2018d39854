// The script of the page. It shows the value that the JSON in the page contains (page.go), in the form of page.html.
// Everything that the reader chooses is in the fragment of the address, so a link shows the same. The object "choice"
// has the fields of the fragment: q, cap and state (the filter), by (the view), sort (the column, with "-" for
// descending), container or row (what is open), and at (the capability to show there).
//
// To show another value, dispatch an event: document.dispatchEvent(new CustomEvent("capmon-data", { detail: value })).

/** The number of rows from which on the browser lays out only the visible rows (page.go). */
const manyRows = 100;

const byId = (id) => document.getElementById(id);
const statesByKey = () => new Map(page.states.map((state) => [state.key, state]));

/** The value that the page shows. */
let page;
/** What the reader chose: the fields of the fragment. */
let choice = {};
/** The lines of each view, by its name. A line has a row of the value (page.go) and its element. */
let lines = new Map();
/** The lines in the matrix, in their present order. */
let present = [];
/** The cell of the matrix that Tab reaches. */
let tabStop;
/** What the dialog shows: the key of a container or row, the value, and the capability. */
let inDialog = {};
/** The target of the settings that the reader chose last. */
let target;

// ---- Elements

/** Returns a new element. Attributes that are false or undefined are left out. Texts are never read as HTML. */
function h(name, attributes, ...children) {
	const svg = ["svg", "text", "line", "circle"].includes(name);
	const element = svg ? document.createElementNS("http://www.w3.org/2000/svg", name) : document.createElement(name);
	for (const [key, value] of Object.entries(attributes ?? {})) {
		if (value !== undefined && value !== false) element.setAttribute(key, value === true ? "" : value);
	}
	element.append(...children);
	return element;
}

const items = (texts) => texts.map((text) => h("li", {}, text));
const terms = (pairs) => h("dl", {}, ...pairs.map(([term, text]) => h("div", {}, h("dt", {}, term), h("dd", {}, text))));

// ---- The fragment

const fragment = (fields) => new URLSearchParams(Object.entries(fields).filter(([, value]) => value)).toString();

function readFragment() {
	choice = Object.fromEntries(new URLSearchParams(location.hash.slice(1)));
	if (!page.views.some((view) => view.name === choice.by)) delete choice.by;
}

/** Changes the choice, and shows it. The change is a step for the back button if it opens or closes something. */
function choose(fields, step) {
	const hash = "#" + fragment({ ...choice, ...fields });
	if (step) {
		location.hash = hash;
	} else {
		try {
			history.replaceState(null, "", hash);
		} catch {
			location.replace(hash); // in a frame without an address of its own
		}
	}
	show();
}

// ---- The matrix

const view = () => page.views.find((view) => view.name === choice.by) ?? page.views[0];
const rowOf = (row) => (typeof row === "number" ? { ...page.containers[row], members: [row] } : row);
const text = (value) => (Array.isArray(value) ? value[1] : value);
const number = (value) => (Array.isArray(value) ? value[0] : 0);

/** Returns the fields of the fragment that open a row. */
function opening(row) {
	if (row.members.length === 1) return { container: page.containers[row.members[0]].key, row: "" };
	return { container: "", row: row.key };
}

function link(row) {
	const by = row.members.length > 1 && view() !== page.views[0] ? view().name : "";
	return h("a", { href: "#" + fragment({ by, ...opening(row) }), tabindex: -1 }, row.title);
}

const rowCells = (row) => [
	h("th", { scope: "row" }, link(row)),
	h("td", { class: "status " + page.statuses[row.status].name }, page.statuses[row.status].name),
	...row.values.map((value, i) => h("td", { class: page.fields[i].number && "n" }, text(value))),
];

function capabilityCells(row) {
	const states = statesByKey();
	return [...row.cells].map((key) => {
		const state = states.get(key.toLowerCase());
		if (!state) return h("td");
		const also = key !== state.key;
		return h("td", { class: `s${state.key}${also ? " also" : ""}` }, state.name + (also ? ", also denied" : ""));
	});
}

/** Returns the lines of the current view. elements are the rows in the HTML, if the lines should use them. */
function viewLines(elements) {
	const { name, rows } = view();
	if (!lines.has(name)) {
		lines.set(name, rows.map(rowOf).map((row, i) => {
			const element = elements?.[i] ?? h("tr", {}, ...rowCells(row), ...capabilityCells(row));
			if (elements) element.querySelector("a").tabIndex = -1;
			return { row, element, place: i, hidden: false };
		}));
		if (elements) present = lines.get(name);
	}
	return lines.get(name);
}

/** Returns the text that the filter searches, in lower case. */
const haystack = (line) => (line.text ??= [
	line.row.title, page.statuses[line.row.status].name, ...line.row.values.map(text),
	...line.row.members.flatMap((member) => [page.containers[member].title, page.containers[member].search]),
].join(" ").toLowerCase());

/** Returns a function that reports whether the filter selects a line. */
function selector() {
	const words = (choice.q ?? "").toLowerCase().split(/\s+/).filter(Boolean);
	const column = page.capabilities.indexOf(choice.cap);
	const key = page.states.find((state) => state.name === choice.state)?.key;
	return (line) => {
		const cells = line.row.cells;
		if (column >= 0 && (key ? cells[column].toLowerCase() !== key : cells[column] === " ")) return false;
		if (column < 0 && key && !cells.toLowerCase().includes(key)) return false;
		return words.every((word) => haystack(line).includes(word));
	};
}

const natural = new Intl.Collator("en", { numeric: true });

/** Returns the order of two rows by a column, and whether its first direction is descending. */
function orderBy(column) {
	const field = page.fields.findIndex((field) => field.name === column);
	const capability = page.capabilities.indexOf(column);
	const ranks = new Map(page.states.map((state, i) => [state.key, i]));
	const rank = (row) => ranks.get(row.cells[capability].toLowerCase()) ?? ranks.size;
	if (column === "Container") return { compare: (a, b) => natural.compare(a.title, b.title) };
	if (column === "Status") return { compare: (a, b) => a.status - b.status };
	if (capability >= 0) return { compare: (a, b) => rank(a) - rank(b) };
	if (field < 0) return undefined;
	if (page.fields[field].number) return { compare: (a, b) => number(a.values[field]) - number(b.values[field]), descending: true };
	return { compare: (a, b) => natural.compare(text(a.values[field]), text(b.values[field])) };
}

function sorted(all) {
	const descending = choice.sort?.startsWith("-");
	const order = orderBy(choice.sort?.replace(/^-/, ""));
	const sign = descending ? -1 : 1;
	if (!order) return [...all].sort((a, b) => a.place - b.place);
	return [...all].sort((a, b) => sign * order.compare(a.row, b.row) || a.place - b.place);
}

/** Sorts by a column: first in its usual direction, then in the other one, then not at all. */
function sortBy(column) {
	const steps = orderBy(column).descending ? ["-" + column, column, ""] : [column, "-" + column, ""];
	choose({ sort: steps[steps.indexOf(choice.sort ?? "") + 1] ?? steps[0] });
}

const body = () => byId("grid").querySelector("tbody");

/** Shows the rows of the view in their order, without those that the filter does not select. */
function showMatrix() {
	const all = viewLines();
	const selects = selector();
	const order = sorted(all);
	let shown = 0;
	for (const line of order) {
		const hidden = !selects(line);
		if (!hidden) shown++;
		if (line.hidden !== hidden) line.element.hidden = line.hidden = hidden;
	}
	if (order.length !== present.length || order.some((line, i) => line !== present[i])) {
		body().replaceChildren(...order.map((line) => line.element));
		present = order;
	}
	byId("grid").querySelector("table").classList.toggle("many", all.length > manyRows);
	for (const heading of headings()) {
		const name = heading.textContent;
		if (choice.sort === name) heading.setAttribute("aria-sort", "ascending");
		else if (choice.sort === "-" + name) heading.setAttribute("aria-sort", "descending");
		else heading.removeAttribute("aria-sort");
	}
	byId("count").textContent = shown === all.length ? `${all.length} rows` : `${shown} of ${all.length} rows`;
	if (!tabStop?.isConnected || tabStop.closest("tr").hidden) setTabStop(headings()[0]);
}

/** Returns the names of the columns before the capabilities. */
const factNames = () => ["Container", "Status", ...page.fields.map((field) => field.name)];
const columnNames = () => [...factNames(), ...page.capabilities];

const headings = () => [...byId("grid").querySelector("thead tr").cells];

/** Replaces the headings by buttons that sort. */
function showHeadings() {
	const first = factNames().length;
	byId("grid").querySelector("thead tr").replaceChildren(...columnNames().map((name, i) => {
		const risky = i >= first && i - first < page.risky;
		const kind = i >= first ? "c" + (risky ? " risky" : "") : page.fields[i - 2]?.number && "n";
		return h("th", { scope: "col", class: kind }, h("button", { type: "button", tabindex: -1 }, i >= first ? h("span", {}, name) : name));
	}));
}

// ---- The keyboard in the matrix: one cell is in the tab order, and the arrow keys move it.

const focusable = (cell) => cell.querySelector("a, button") ?? cell;

/** Makes a cell the one that Tab reaches. */
function setTabStop(cell) {
	if (tabStop) focusable(tabStop).tabIndex = -1;
	tabStop = cell;
	focusable(cell).tabIndex = 0;
}

/** Returns the visible rows of the matrix, the headings first. */
const visibleRows = () => [...byId("grid").querySelectorAll("tr")].filter((row) => !row.hidden);

function moveTo(event) {
	const rows = visibleRows();
	const row = rows.indexOf(tabStop.closest("tr"));
	const column = tabStop.cellIndex;
	const last = tabStop.closest("tr").cells.length - 1;
	const jump = 10;
	const [r, c] = {
		ArrowUp: [row - 1, column], ArrowDown: [row + 1, column], ArrowLeft: [row, column - 1], ArrowRight: [row, column + 1],
		PageUp: [row - jump, column], PageDown: [row + jump, column],
		Home: [event.ctrlKey ? 0 : row, 0], End: [event.ctrlKey ? rows.length - 1 : row, last],
	}[event.key] ?? [];
	if (r === undefined) return undefined;
	const clamp = (n, most) => Math.min(Math.max(n, 0), most);
	return rows[clamp(r, rows.length - 1)].cells[clamp(c, last)];
}

function onGridKey(event) {
	if (event.altKey || event.metaKey) return;
	const cell = moveTo(event);
	if (cell) {
		event.preventDefault();
		setTabStop(cell);
		focusable(cell).focus();
		cell.scrollIntoView({ block: "nearest", inline: "nearest" });
	} else if (event.key === "Enter" && event.target.tagName === "TD") {
		openCell(event.target);
	}
}

/** Opens the row of a cell, at the capability of the cell. */
function openCell(cell) {
	const line = viewLines().find((line) => line.element === cell.closest("tr"));
	if (!line) return;
	const capability = page.capabilities[cell.cellIndex - factNames().length];
	choose({ ...opening(line.row), at: capability }, true);
}

function onGridClick(event) {
	const cell = event.target.closest("th, td");
	if (!cell || getSelection().toString()) return;
	if (event.target.closest("a")) return;
	setTabStop(cell);
	focusable(cell).focus();
	if (cell.closest("thead")) sortBy(cell.textContent);
	else if (cell.tagName === "TD") openCell(cell);
}

/** Follows a link within the page. What the reader chose stays, except what the link opens. */
function onLinkClick(event) {
	const link = event.target.closest('a[href^="#"]');
	if (!link || event.ctrlKey || event.metaKey || event.shiftKey || event.altKey) return; // perhaps to a new tab
	event.preventDefault();
	const fields = Object.fromEntries(new URLSearchParams(link.hash.slice(1)));
	choose({ container: "", row: "", at: "", by: fields.row ? "" : choice.by, ...fields }, true);
}

// ---- Details

/** Replaces each index into the page's strings by the text. */
function resolve(value) {
	if (typeof value === "number") return page.strings[value];
	if (Array.isArray(value)) return value.map(resolve);
	return Object.fromEntries(Object.entries(value).map(([key, each]) => [key, resolve(each)]));
}

const join = (lines) => (lines ?? []).join("\n");

function table(title, columns, rows) {
	return h("div", { class: "scroll", tabindex: 0, role: "region", "aria-label": title },
		h("table", {}, h("caption", {}, title),
			h("thead", {}, h("tr", {}, ...columns.map((column) => h("th", { scope: "col" }, ...[column].flat())))),
			h("tbody", {}, ...rows.map((cells) => h("tr", {}, ...cells.map((cell, i) => h(i ? "td" : "th", { scope: i ? undefined : "row" }, cell)))))));
}

const drawing = (...shapes) => h("svg", { "aria-hidden": "true", height: 20, width: "100%" }, ...shapes);

function timeline(block) {
	const axis = drawing(...block.ticks.map((tick) => h("text", { x: tick.at, y: 14 }, tick.label)));
	const columns = ["Capability", "First use", [h("span", { class: "hidden" }, "From the first to the last use"), axis]];
	return table(block.title, columns, block.marks.map((mark) => [mark.name, mark.when, drawing(
		h("line", { x1: mark.from, y1: 10, x2: mark.to, y2: 10 }), h("circle", { cx: mark.from, cy: 10, r: 5 }))]));
}

/** Copies a text, also in pages without the right to use the clipboard. Returns whether it could. */
async function copy(text, pre) {
	try {
		await navigator.clipboard.writeText(text);
		return true;
	} catch {
		getSelection().selectAllChildren(pre);
		return document.execCommand("copy");
	}
}

function code(lines, interactive) {
	const pre = h("pre", { tabindex: 0 }, join(lines));
	if (!interactive) return [pre];
	const button = h("button", { type: "button" }, "Copy");
	const done = h("span", { role: "status" });
	button.addEventListener("click", async () => {
		done.textContent = await copy(join(lines), pre) ? " copied" : " the browser does not allow it: copy the selected text";
	});
	return [pre, button, done];
}

const settingsOf = (one, interactive) => [
	...(one.notes ? [h("ul", {}, ...items(one.notes))] : []),
	...(one.refused ? [h("p", { class: "refused" }, join(one.refused))] : code(one.lines, interactive)),
];

function settings(block, interactive) {
	const all = block.for;
	if (!interactive) return [h("p", {}, `for ${all[0].target}; for other tools: capmon flags`), ...settingsOf(all[0])];
	const chosen = Math.max(all.findIndex((one) => one.target === target), 0);
	const select = h("select", {}, ...all.map((one, i) => h("option", { selected: i === chosen }, one.target)));
	const content = h("div", {}, ...settingsOf(all[chosen], true));
	select.addEventListener("change", () => {
		target = select.value;
		content.replaceChildren(...settingsOf(all[select.selectedIndex], true));
	});
	return [h("label", {}, "for ", select), content];
}

/** Returns the content of a block, in the form of the template "blocks" in page.html. */
function content(block, interactive) {
	switch (block.kind) {
		case "facts": return [terms(block.facts)];
		case "table": return [table(block.title, block.columns, block.rows.map((cells) => cells.map(join)))];
		case "timeline": return [h("p", {}, join(block.lines)), timeline(block)];
		case "code": return code(block.lines, interactive);
		case "settings": return settings(block, interactive);
		default: return [h("ul", {}, ...items(block.items))];
	}
}

/** Returns the blocks of a container. interactive adds what a reader can use, which is not for paper. */
function details(container, heading, interactive) {
	return page.details[container].map(resolve).map((block) =>
		h("section", { class: "block " + block.kind }, h(heading, {}, block.title), ...content(block, interactive)));
}

// ---- The dialog

function showDialog() {
	const dialog = byId("dialog");
	const container = page.containers.findIndex((container) => container.key === choice.container);
	const line = choice.row && viewLines().find((line) => line.row.members.length > 1 && line.row.key === choice.row);
	const subject = container >= 0 ? choice.container : line && choice.row;
	const before = inDialog;
	inDialog = { subject, page, at: choice.at };
	if (!subject) {
		dialog.close();
		return;
	}
	if (before.subject === subject && before.page === page && before.at === choice.at) return;
	byId("dialog-title").textContent = container >= 0 ? page.containers[container].title : line.row.title;
	update(byId("dialog-body"), container >= 0 ? details(container, "h3", true) : [members(line.row)]);
	if (!dialog.open) dialog.showModal();
	const chosen = [...byId("dialog-body").querySelectorAll("tbody tr")].find((row) => container >= 0 && row.cells[0].textContent === choice.at);
	chosen?.classList.add("chosen");
	if (before.subject === subject && before.at === choice.at) return; // the reader may have scrolled
	dialog.scrollTop = 0;
	chosen?.scrollIntoView({ block: "center" });
}

/** Returns a table of the containers of a row. */
function members(row) {
	const rows = row.members.map(rowOf);
	return table("Containers", factNames(), rows.map((member) => [
		h("a", { href: "#" + fragment(opening(member)) }, member.title),
		page.statuses[member.status].name, ...member.values.map(text),
	]));
}

const closeDetails = () => choose({ container: "", row: "", at: "" }, true);

// ---- The page as a whole

function showControls() {
	const values = { q: choice.q ?? "", cap: choice.cap ?? "", state: choice.state ?? "", by: view().name };
	for (const [id, value] of Object.entries(values)) {
		if (byId(id).value !== value) byId(id).value = value;
	}
}

function fillControls() {
	const options = (...values) => values.map(([value, label]) => h("option", { value }, label ?? value));
	update(byId("cap"), options(["", "any"], ...page.capabilities.map((name) => [name]).sort()));
	update(byId("state"), options(["", "any"], ...page.states.map((state) => [state.name])));
	update(byId("by"), options(...page.views.map((view) => [view.name, view.label])));
}

/** Shows the choice. */
function show() {
	readFragment();
	showControls();
	showMatrix();
	showDialog();
}

/** Shows another value in place of the present one. What the reader chose stays. */
function render(value) {
	page = value;
	lines = new Map();
	present = [];
	readFragment();
	document.title = page.title;
	document.querySelector("h1").textContent = page.title;
	byId("figures").replaceChildren(...page.figures.map((figure) => h("li", {}, h("b", {}, figure.number), " " + figure.label)));
	const first = page.views[0].rows.map(rowOf);
	byId("advice").hidden = page.advice.length === 0;
	byId("advice").querySelector("h2").textContent = page.adviceTitle;
	byId("advice").querySelector("ol").replaceChildren(...page.advice.map(({ row, text, command }) =>
		h("li", {}, h("a", { href: "#" + fragment(opening(first[row])) }, first[row].title), ": " + text,
			...(command ? [h("br"), h("code", {}, command)] : []))));
	byId("notes").hidden = page.notes.length === 0;
	byId("notes").querySelector("ul").replaceChildren(...items(page.notes));
	const legend = (all, name) => all.map((one) => h("div", {}, h("dt", { class: name(one) }, one.name), h("dd", {}, one.meaning)));
	byId("states").replaceChildren(...legend(page.states, (state) => "state s" + state.key));
	byId("statuses").replaceChildren(...legend(page.statuses, (status) => "status " + status.name));
	byId("made").textContent = page.made;
	showHeadings();
	fillControls();
	show();
}

// ---- New values, while someone reads

/** Returns a function that finds the element again, or the one in its place, after the page has shown another value. */
function placeOf(element) {
	const cell = element.closest("#grid th, #grid td");
	const region = element.closest("#dialog-body, #advice");
	if (cell) {
		const key = viewLines().find((line) => line.element === cell.closest("tr"))?.row.key;
		const column = columnNames()[cell.cellIndex];
		return () => {
			const row = key === undefined ? headings() : [...(viewLines().find((line) => line.row.key === key)?.element.cells ?? headings())];
			return row[Math.max(columnNames().indexOf(column), 0)];
		};
	}
	if (region) {
		const all = () => [...region.querySelectorAll("a, button, select, [tabindex]")];
		const index = all().indexOf(element);
		return () => all()[index];
	}
	return () => element;
}

/** Shows another value. What the reader chose, the focus and the scroll positions stay. */
function replace(value) {
	const focus = placeOf(document.activeElement);
	const inGrid = byId("grid").contains(document.activeElement);
	const reached = placeOf(tabStop);
	const scrolled = [document.documentElement, byId("grid"), byId("dialog")].map((element) => ({ element, left: element.scrollLeft, top: element.scrollTop }));
	render(value);
	setTabStop(reached());
	if (!document.activeElement || document.activeElement === document.body || byId("dialog").open) {
		const element = focus();
		(inGrid ? focusable(element) : element)?.focus({ preventScroll: true });
	}
	for (const { element, left, top } of scrolled) element.scrollTo({ left, top, behavior: "instant" });
}

/** Replaces those children of an element that change, so that a selection in the others stays. */
function update(parent, children) {
	const before = [...parent.children];
	if (before.length !== children.length) parent.replaceChildren(...children);
	else children.forEach((child, i) => before[i].isEqualNode(child) || before[i].replaceWith(child));
}

/** Puts the details of the containers that the matrix shows on the paper. */
function fillDetails() {
	const shown = new Set(sorted(viewLines()).filter((line) => !line.element.hidden).flatMap((line) => line.row.members));
	byId("details").replaceChildren(h("h2", {}, "Details"), ...[...shown].map((container) =>
		h("details", { class: "container", open: true }, h("summary", {}, h("h3", {}, page.containers[container].title)), h("div", {}, ...details(container, "h4")))));
}

const dark = () => {
	const theme = document.documentElement.dataset.theme;
	return theme ? theme === "dark" : matchMedia("(prefers-color-scheme: dark)").matches;
};

function showTheme() {
	byId("theme").textContent = dark() ? "Light theme" : "Dark theme";
}

function switchTheme() {
	const theme = dark() ? "light" : "dark";
	document.documentElement.dataset.theme = theme;
	storeTheme(theme);
	showTheme();
}

function storeTheme(theme) {
	try {
		localStorage.setItem("capmon-theme", theme);
	} catch { /* a page in a frame may have no storage */ }
}

function storedTheme() {
	try {
		return localStorage.getItem("capmon-theme") ?? "";
	} catch {
		return "";
	}
}

function start() {
	document.documentElement.classList.add("js");
	if (["dark", "light"].includes(storedTheme())) document.documentElement.dataset.theme = storedTheme();
	page = JSON.parse(byId("data").textContent);
	const grid = byId("grid");
	grid.removeAttribute("tabindex"); // the cells in it have the focus
	grid.querySelector("table").setAttribute("role", "grid");
	byId("controls").hidden = byId("keys").hidden = false;
	byId("dialog-title").autofocus = true; // not the button that closes the dialog
	byId("details").replaceChildren();
	showTheme();
	showHeadings();
	fillControls();
	useRowsOfHTML();
	show();

	byId("controls").addEventListener("submit", (event) => event.preventDefault());
	byId("q").addEventListener("input", () => choose({ q: byId("q").value }));
	for (const id of ["cap", "state", "by"]) byId(id).addEventListener("change", () => choose({ [id]: byId(id).value }));
	byId("theme").addEventListener("click", switchTheme);
	matchMedia("(prefers-color-scheme: dark)").addEventListener("change", showTheme);
	byId("q").addEventListener("focus", () => viewLines().forEach(haystack)); // before the first letter
	grid.addEventListener("keydown", onGridKey);
	grid.addEventListener("click", onGridClick);
	grid.addEventListener("focusin", (event) => {
		const cell = event.target.closest("th, td");
		if (cell && cell !== tabStop) setTabStop(cell);
	});
	addEventListener("click", onLinkClick);
	byId("close").addEventListener("click", closeDetails);
	byId("dialog").addEventListener("cancel", (event) => {
		event.preventDefault();
		closeDetails();
	});
	byId("dialog").addEventListener("close", () => { // a browser may close the dialog by itself
		if (!byId("dialog").open && (choice.container || choice.row)) closeDetails();
	});
	addEventListener("hashchange", show);
	addEventListener("beforeprint", fillDetails);
	addEventListener("afterprint", () => byId("details").replaceChildren());
	addEventListener("keydown", (event) => {
		const writes = /^(INPUT|SELECT|TEXTAREA)$/.test(event.target.tagName);
		if (event.key !== "/" || writes || byId("dialog").open || event.ctrlKey || event.metaKey || event.altKey) return;
		event.preventDefault();
		byId("q").focus();
		byId("q").select();
	});
	document.addEventListener("capmon-data", (event) => replace(event.detail));
}

/** Uses the rows in the HTML as the lines of the first view. */
function useRowsOfHTML() {
	choice = {};
	viewLines([...body().rows]);
}

start();

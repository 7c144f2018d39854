// The script of a page that capmon serve updates (docs/http-api.md, "Events"). It passes new values to page.mjs, and lists
// the alerts in the form of page.html.

/** The maximum number of alerts in the list (live.go). */
const maxAlerts = 100;
/** The longest time without an event in milliseconds. capmon serve sends one at least every 15 seconds. */
const maxSilence = 40_000;
/** The time until the script connects again, if the browser does not, in milliseconds. */
const retryDelay = 5_000;
/** The shortest time between two announcements of alerts in milliseconds. */
const announceInterval = 10_000;
/** The maximum number of characters of a text. Anyone can choose the names of containers. */
const maxText = 1024;

const live = document.getElementById("live");
const body = document.querySelector("#alerts tbody");
const news = document.getElementById("alert-news");

let source;
/** When the last event arrived, and since when there is no connection. */
let heard = Date.now();
let since;
/** The reason why capmon cannot read its data. */
let problem = "";
let retry;

const clock = (date) => date.toLocaleTimeString();

function showState() {
	let text = "live";
	if (since) text = `reconnecting since ${clock(since)}: this page may be old`;
	else if (problem) text = `connected, but the data is old: ${problem}`;
	live.className = since || problem ? "stale" : "";
	if (live.textContent !== text) live.textContent = text;
}

function connected() {
	heard = Date.now();
	since = undefined;
	showState();
}

function disconnected() {
	since ??= new Date();
	showState();
}

function connect() {
	source?.close();
	clearTimeout(retry);
	retry = undefined;
	heard = Date.now();
	source = new EventSource(location.origin + location.pathname + "api/v1/events" + location.search); // without a password
	source.addEventListener("open", connected);
	source.addEventListener("heartbeat", connected);
	source.addEventListener("page", (event) => {
		problem = "";
		connected();
		document.dispatchEvent(new CustomEvent("capmon-data", { detail: JSON.parse(event.data) }));
	});
	source.addEventListener("problem", (event) => {
		problem = safeLine(JSON.parse(event.data).detail);
		connected();
	});
	source.addEventListener("alert", (event) => {
		connected();
		add(JSON.parse(event.data));
	});
	source.addEventListener("error", () => {
		disconnected();
		// After an error response, for example 503, the browser does not connect again.
		if (source.readyState === EventSource.CLOSED) retry ??= setTimeout(connect, retryDelay);
	});
}

// ---- Alerts

const escapes = { "\x07": "\\a", "\b": "\\b", "\f": "\\f", "\n": "\\n", "\r": "\\r", "\t": "\\t", "\v": "\\v", "\\": "\\\\" };

function escaped(character) {
	const hex = (digits) => character.codePointAt(0).toString(16).padStart(digits, "0");
	if (character in escapes) return escapes[character];
	if (/[\0-\x1f\x7f]/.test(character)) return "\\x" + hex(2);
	return character.length > 1 ? "\\U" + hex(8) : "\\u" + hex(4);
}

/** Returns a text that others chose in a form that is safe to display, as printable.Text does. */
function safe(text) {
	return shorten(text).replace(/[^\p{L}\p{M}\p{N}\p{P}\p{S}\p{Zs}]|\\/gu, escaped);
}

/** Escapes like safe, but leaves backslashes: capmon has already escaped the text. */
function safeLine(text) {
	return shorten(text).replace(/[^\p{L}\p{M}\p{N}\p{P}\p{S}\p{Zs}]/gu, escaped);
}

const shorten = (text) => (text.length > maxText ? text.slice(0, maxText) + "…" : text);

/** Returns the name by which a reader knows a container, as uses.ContainerRef.Title does. */
function title(container) {
	const given = container.id?.startsWith("cgroup-"); // by capmon, see containerid.UnknownPrefix
	const short = given ? container.id : container.id?.slice(0, 12);
	if (container.unconfirmed && short && !given) return short + "-unconfirmed";
	return container.name || short || "";
}

function cell(text) {
	const element = document.createElement("td");
	element.textContent = text;
	return element;
}

function row(alert) {
	const own = alert.loss || alert.dropped; // about capmon itself
	const container = alert.loss?.container ?? (alert.dropped && { id: alert.dropped.containerID, name: alert.dropped.container }) ?? alert.use?.container ?? {};
	const process = alert.use?.process ?? {};
	const element = document.createElement("tr");
	element.dataset.id = safe(alert.id);
	element.dataset.origin = own ? "capmon" : safe(container.id ?? "");
	element.append(...[
		new Date(alert.time).toISOString().replace("T", " ").replace(/\..*/, " UTC"), alert.severity, title(container),
		own ? "" : alert.use?.capability ?? "", process.others ? "others" : process.program ?? "",
	].map((text) => cell(safe(text))), cell(safeLine(alert.summary)));
	return element;
}

const time = (row) => row.cells[0].textContent;

/** Removes the oldest alert of the container that has the most, so that a container cannot remove the alerts of others. */
function removeOne() {
	const number = Map.groupBy([...body.rows], (row) => row.dataset.origin);
	const most = [...number.values()].reduce((one, other) => (other.length > one.length ? other : one));
	most.at(-1).remove();
}

/** Alerts that arrived after the last update of the list, those that were not announced, and when the last ones were. */
let waiting = [];
let unannounced = [];
let announced = 0;

function add(alert) {
	waiting.push(alert);
	if (waiting.length === 1) setTimeout(list, 250);
}

/** Adds the waiting alerts to the list. After a reconnection, alerts of the list arrive again. */
function list() {
	const known = new Set([...body.rows].map((row) => row.dataset.id));
	for (const alert of waiting.splice(0)) {
		const element = row(alert);
		if (known.has(element.dataset.id)) continue;
		known.add(element.dataset.id);
		unannounced.push(element);
		const next = [...body.rows].find((other) => time(other) <= time(element));
		body.insertBefore(element, next ?? null);
		if (body.rows.length > maxAlerts) removeOne();
	}
}

/** Announces the new alerts to screen readers. */
function announce() {
	if (unannounced.length === 0 || Date.now() - announced < announceInterval) return;
	const count = unannounced.length === 1 ? "New alert" : `${unannounced.length} new alerts, the last one`;
	news.textContent = `${count}: ${unannounced.at(-1).lastChild.textContent}`;
	unannounced = [];
	announced = Date.now();
}

live.textContent = "connecting";
connect();
setInterval(() => {
	announce();
	if (Date.now() - heard < maxSilence) return;
	disconnected();
	connect();
}, 1000);
// The browser keeps a page that the reader leaves. A stream that nobody reads would occupy one of few places.
addEventListener("pagehide", () => source.close());
addEventListener("pageshow", (event) => event.persisted && connect());

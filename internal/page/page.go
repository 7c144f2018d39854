// Package page writes what capmon knows about containers as one HTML file: a matrix of containers and capabilities, and
// the details of each container. The file needs no network and no other file.
//
// A [Page] is a plain value. The template page.html makes the HTML of the value. The file also contains the value as
// JSON. From this JSON, the script page.mjs shows the same form again when the reader sorts, filters or opens
// something.
//
// The page of capmon serve has a [Live] part in addition. Its script live.mjs receives new values and alerts.
package page

import (
	"bytes"
	"crypto/sha256"
	_ "embed" // for the page's template, style sheet and script
	"encoding/base64"
	"encoding/json"
	"fmt"
	"html/template"
	"io"
	"net/url"
	"strings"
)

// Page is everything that a page shows. All texts are safe to display: they contain only graphic characters.
type Page struct {
	Title string `json:"title"`
	// Made states when and by which version of capmon the page was made.
	Made    string   `json:"made"`
	Figures []Figure `json:"figures"`
	// Advice lists what to do first, under the title AdviceTitle.
	AdviceTitle string   `json:"adviceTitle"`
	Advice      []Advice `json:"advice"`
	// AdviceHint says what the links of the advice lead to.
	AdviceHint string `json:"-"`
	// Notes are cautions about all containers.
	Notes []string `json:"notes"`
	// Fields are the columns before the capabilities.
	Fields []Field `json:"fields"`
	// Capabilities are the other columns: the capabilities that a container has, used or tried to use. The first Risky
	// of them are NET_RAW and those that allow a process to escape from the container or to change the host.
	Capabilities []string `json:"capabilities"`
	Risky        int      `json:"risky"`
	// Statuses are the statuses that occur in the page, the gravest first. States are the states that occur in the
	// cells, the strongest first.
	Statuses []Status `json:"statuses"`
	States   []State  `json:"states"`
	// Views are the ways to group the containers. The first one is the default.
	Views      []View      `json:"views"`
	Containers []Container `json:"containers"`
	// About explains the rule that the page is about. It is only in the HTML, because it never changes.
	About []Block `json:"-"`
	// Live is set if the page is connected to capmon serve.
	Live *Live `json:"-"`
}

// Figure is a number at the top of the page.
type Figure struct {
	Number string `json:"number"`
	Label  string `json:"label"`
}

// Advice says why a row needs attention. Row is the index of the row in the first view. Command prints how to fix the
// container; only the page of an audit has it.
type Advice struct {
	Row     int    `json:"row"`
	Text    string `json:"text"`
	Command string `json:"command,omitempty"`
}

// Field is a column with facts about the containers.
type Field struct {
	Name string `json:"name"`
	// Number reports whether the values are numbers.
	Number bool `json:"number"`
}

// Value is the value of a field. Number is the value by which the script sorts a field of numbers.
type Value struct {
	Text   string
	Number float64
}

// Row is a line of the matrix: a container, or several containers with something in common.
type Row struct {
	// Key identifies the row in links. It is unique in its view.
	Key   string `json:"key"`
	Title string `json:"title"`
	// Status is an index into Page.Statuses.
	Status int `json:"status"`
	// Values has a value for each of Page.Fields.
	Values []Value `json:"values"`
	// Cells has a letter for each of Page.Capabilities: the key of a [State], or a blank. An upper-case key means that
	// the kernel also denied the capability.
	Cells string `json:"cells"`
	// Members are the positions of the row's containers in Page.Containers.
	Members []int `json:"members"`
	// own reports whether the row is the one of its only container. JSON has the position of the container in its
	// place.
	own bool
}

// View is one way to group the containers. Links contain the name, and readers see the label.
type View struct {
	Name  string `json:"name"`
	Label string `json:"label"`
	Rows  []Row  `json:"rows"`
}

// Container is the row of one container, with its details.
type Container struct {
	Row
	// Search has the words by which the filter finds the container in addition to the row's texts.
	Search  string  `json:"search"`
	Details []Block `json:"-"`
}

// Block is a part of the details. A [Kind] lists the fields that a block has in addition to its title.
type Block struct {
	Kind  Kind   `json:"kind"`
	Title string `json:"title,omitempty"`
	// Facts are pairs of a term and its text.
	Facts [][2]string `json:"facts,omitempty"`
	// Items are the items of a list.
	Items []string `json:"items,omitempty"`
	// Columns and Rows are a table. A cell has one or several lines.
	Columns []string   `json:"columns,omitempty"`
	Rows    [][]Lines  `json:"rows,omitempty"`
	Marks   []Mark     `json:"marks,omitempty"`
	Ticks   []Tick     `json:"ticks,omitempty"`
	Lines   Lines      `json:"lines,omitempty"`
	For     []Settings `json:"for,omitempty"`
}

// Kind is the form of a block.
type Kind string

// The kinds of blocks.
const (
	FactsBlock    Kind = "facts"    // Facts
	CautionsBlock Kind = "cautions" // Items to read before what follows
	ListBlock     Kind = "list"     // Items
	TableBlock    Kind = "table"    // Columns and Rows
	TimelineBlock Kind = "timeline" // Marks, Ticks and Lines
	CodeBlock     Kind = "code"     // Lines to copy
	SettingsBlock Kind = "settings" // For, with the most suitable target first
)

// Lines are the lines of a text.
type Lines []string

// Mark is the time between the first and the last use of a capability. From and To are percentages of the width.
type Mark struct {
	Name string `json:"name"`
	// When describes the time of the first use.
	When string `json:"when"`
	From string `json:"from"`
	To   string `json:"to"`
}

// Tick is a labeled position of the axis of a timeline, as a percentage of the width.
type Tick struct {
	At    string `json:"at"`
	Label string `json:"label"`
}

// Settings are the settings for one target.
type Settings struct {
	Target string `json:"target"`
	// Refused is the reason why there are no settings; empty if there are some.
	Refused Lines    `json:"refused,omitempty"`
	Notes   []string `json:"notes,omitempty"`
	Lines   Lines    `json:"lines,omitempty"`
}

var (
	//go:embed page.html
	templateText string
	//go:embed page.css
	styleText string
	//go:embed page.mjs
	scriptText string
	//go:embed live.mjs
	liveScriptText string
)

// detailsInHTML is the largest number of containers whose details are in the HTML. The details of more containers are
// only in the JSON, because the page would be too large with both.
const detailsInHTML = 100

// manyRows is the number of rows from which on the browser lays out only the visible rows.
const manyRows = 100

var pageTemplate = template.Must(template.New("page").Funcs(template.FuncMap{
	"cells": cellsHTML,
	"join":  func(lines Lines) string { return strings.Join(lines, "\n") },
	"link":  Page.link, "anchor": anchor, "ordered": Page.ordered,
}).Parse(templateText))

// link returns the address that opens a row of the first view.
func (p Page) link(r Row) template.URL {
	if len(r.Members) == 1 {
		return template.URL("#" + anchor(p.Containers[r.Members[0]].Key))
	}
	return template.URL("#row=" + url.QueryEscape(r.Key))
}

// ordered returns the containers in the order of the first view.
func (p Page) ordered() []Container {
	all := make([]Container, 0, len(p.Containers))
	for _, view := range p.Views[:min(len(p.Views), 1)] {
		for _, row := range view.Rows {
			for _, member := range row.Members {
				all = append(all, p.Containers[member])
			}
		}
	}
	return all
}

// anchor returns the fragment of the address of a container.
func anchor(key string) string { return "container=" + url.QueryEscape(key) }

// Policy returns the Content-Security-Policy of a page without a [Live] part: the browser runs only the page's script,
// applies only the page's style sheet, and loads nothing.
func Policy() string { return policy(hash(scriptText)) }

// policy returns the policy for scripts with these hashes.
func policy(scripts string) string {
	return fmt.Sprintf("default-src 'none'; script-src %s; style-src %s; base-uri 'none'; form-action 'none'", scripts, hash(styleText))
}

func hash(text string) string {
	sum := sha256.Sum256([]byte(text))
	return "'sha256-" + base64.StdEncoding.EncodeToString(sum[:]) + "'"
}

func script(text string) template.HTML {
	return template.HTML(`<script type="module">` + text + "</script>")
}

// JSON returns the value that the script of the page shows. It does not contain Page.Live.
func JSON(p Page) ([]byte, error) {
	data, err := encode(p)
	if err != nil {
		return nil, err
	}
	return json.Marshal(data)
}

// Write writes the page as HTML. If Page.Live is set, the page has the script live.mjs and the policy [LivePolicy].
func Write(out io.Writer, p Page) error {
	data, err := encode(p)
	if err != nil {
		return err
	}
	policy, scripts := Policy(), script(scriptText)
	if p.Live != nil {
		policy, scripts = LivePolicy(), scripts+script(liveScriptText)
	}
	var text bytes.Buffer
	err = pageTemplate.Execute(&text, map[string]any{
		"Page": p, "Data": data, "Policy": policy,
		// These texts are part of capmon. The policy requires that not one byte of them changes.
		"Style":  template.HTML("<style>" + styleText + "</style>"),
		"Script": scripts,
		"Many":   len(p.Views) > 0 && len(p.Views[0].Rows) > manyRows, "WithDetails": len(p.Containers) <= detailsInHTML,
	})
	if err != nil {
		return err
	}
	_, err = out.Write(text.Bytes())
	return err
}

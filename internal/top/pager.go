package top

// pager shows a part of some lines.
type pager struct {
	lines  []string
	top    int // index of the first visible line
	height int
}

// set replaces the lines. The position stays.
func (p *pager) set(lines []string, height int) {
	p.lines, p.height = lines, height
	p.move(0)
}

// move moves the visible part.
func (p *pager) move(by int) { p.top = max(0, min(p.top+by, len(p.lines)-p.height)) }

// visible returns the visible lines.
func (p *pager) visible() []string {
	return p.lines[p.top:min(p.top+p.height, len(p.lines))]
}

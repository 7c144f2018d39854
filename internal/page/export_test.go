package page

// ManyRows is the number of rows from which on the browser lays out only the visible rows.
const ManyRows = manyRows

// States returns all states.
func States() []State { return states }

// Keys is for tests.
var Keys = keys

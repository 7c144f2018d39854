package page

// States returns all states.
func States() []State { return states }

// Keys is for tests.
var Keys = keys

package page

// States returns all states.
func States() []State { return states }

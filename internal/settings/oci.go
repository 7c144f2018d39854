package settings

func ociTarget() Target {
	return Target{
		Name: "oci", About: "process.capabilities of an OCI runtime's config.json",
		noDelta: "it has the whole sets, and nothing is granted besides",
		text:    ociProcess, join: members, strictPorts: true, rootOnly: true,
	}
}

// ociProcess is what Docker writes for a container, whose inheritable and ambient sets
// are empty: root's programs get what the bounding set allows.
func ociProcess(c changes) string {
	set := capNames(c.Needs)
	return asciiJSON(object{"process": object{"capabilities": object{
		"bounding": set, "effective": set, "permitted": set, "inheritable": []string{}, "ambient": []string{},
	}}})
}

package settings

func ociTarget() Target {
	return Target{
		Name: "oci", About: "process.capabilities of an OCI runtime's config.json",
		noDelta: "config.json contains the complete sets, and there is no default",
		text:    ociProcess, join: members, keepsLimits: true, rootOnly: true,
	}
}

// ociProcess returns the same sets as Docker writes. The inheritable and ambient sets are empty: programs of root get
// the capabilities of the bounding set.
func ociProcess(c changes) string {
	set := capNames(c.Needs)
	return asciiJSON(object{"process": object{"capabilities": object{
		"bounding": set, "effective": set, "permitted": set, "inheritable": []string{}, "ambient": []string{},
	}}})
}

package grafana

import (
	"os"
	"testing"

	"github.com/grafana/grafana-foundation-sdk/go/cog/plugins"
	grafana "github.com/grafana/grafana-foundation-sdk/go/dashboard"
)

// The dashboard has the form in which Grafana itself would write it: no field that Grafana does not know, and all
// fields that it needs.
func TestDashboardIsValidForGrafana(t *testing.T) {
	t.Parallel()
	text, err := os.ReadFile("../../../examples/grafana/capmon.json")
	if err != nil {
		t.Fatal(err)
	}
	plugins.RegisterDefaultPlugins()
	var d grafana.Dashboard                                                  //nolint:staticcheck // the classic form, which every Grafana imports
	if err := d.UnmarshalJSONStrict(text); err != nil && err.Error() != "" { // it may be an empty list of errors
		t.Error(err)
	}
}

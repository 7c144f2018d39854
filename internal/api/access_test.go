package api

import (
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/capmon/capmon/internal/api/apitest"
)

var everyPath = []string{"/", "/healthz", "/metrics", "/nothing", "/api/v1/report", "/api/v1/openapi.json"}

// A page of another site can read nothing, even if the name of the site resolves to this machine. With a tunnel to the
// socket, there is no token.
func TestOnlyNamesOfThisMachineAreAcceptedWithoutAToken(t *testing.T) {
	for host, want := range map[string]bool{
		"": true, "localhost": true, "LOCALHOST:8080": true, "127.0.0.1:8080": true, "192.0.2.1": true, "[::1]:8080": true, "[fe80::1]": true,
		"capmon.localhost:8080": true, "capmon": true, "capmon:80": true,
		"evil.example": false, "evil.example:8080": false, "127.0.0.1.evil.example:8080": false, "localhost.evil.example": false,
		"evillocalhost": false, "router": false, "localhost.": false, "127.0.0.1:80:80": false, "capmon.evil.example": false,
	} {
		for _, path := range everyPath {
			request := requestFor("GET", path)
			request.Host = host
			got := httptest.NewRecorder()
			handlerOf(apitest.Working(), "").ServeHTTP(got, request)
			if (got.Code == 421) == want || !want && !strings.Contains(got.Body.String(), "use localhost or an IP address") {
				t.Errorf("%s of %q: %d, %s", path, host, got.Code, got.Body)
			}
			request.SetBasicAuth("", "0123456789abcdef")
			got = httptest.NewRecorder()
			if handlerOf(apitest.Working(), "0123456789abcdef").ServeHTTP(got, request); got.Code == 421 {
				t.Errorf("%s of %q with the token: %d", path, host, got.Code)
			}
		}
	}
}

// Another machine of the network could answer for the name capmon, but a browser always sends its languages.
func TestBrowsersCannotUseTheNameCapmon(t *testing.T) {
	request := requestFor("GET", "/")
	request.Host = "capmon:8080"
	request.Header.Set("Accept-Language", "")
	got := httptest.NewRecorder()
	if handlerOf(apitest.Working(), "").ServeHTTP(got, request); got.Code != 421 {
		t.Errorf("%d", got.Code)
	}
}

func TestPagesOfOtherSitesAreRejected(t *testing.T) {
	for _, test := range []struct {
		origin, site, mode, destination string
		want                            bool
	}{
		{"", "", "", "", true},
		{"", "none", "navigate", "document", true},
		{"", "same-origin", "navigate", "document", true},
		{"", "same-origin", "cors", "empty", true},
		{"http://localhost", "same-origin", "cors", "empty", true},
		{"", "cross-site", "navigate", "document", true}, // a link
		{"", "same-site", "navigate", "document", true},
		{"", "cross-site", "navigate", "iframe", false},
		{"", "cross-site", "no-cors", "script", false},
		{"", "cross-site", "no-cors", "image", false},
		{"", "same-site", "no-cors", "empty", false}, // another port of this machine
		{"", "new", "cors", "empty", false},
		{"http://evil.example", "", "", "", false}, // an old browser
		{"http://localhost:9000", "", "", "", false},
		{"null", "", "", "", false},
		{"\x00", "", "", "", false},
	} {
		for _, path := range everyPath {
			request := requestFor("GET", path)
			for name, value := range map[string]string{"Origin": test.origin, "Sec-Fetch-Site": test.site, "Sec-Fetch-Mode": test.mode, "Sec-Fetch-Dest": test.destination} {
				if value != "" {
					request.Header.Set(name, value)
				}
			}
			got := httptest.NewRecorder()
			if handlerOf(apitest.Working(), "").ServeHTTP(got, request); (got.Code != 403) != test.want {
				t.Errorf("%s, %+v: %d", path, test, got.Code)
			}
		}
	}
}

// Every response tells browsers not to pass it to other sites, also errors.
func TestResponsesAreNotForOtherSites(t *testing.T) {
	for _, token := range []string{"", "0123456789abcdef"} {
		for _, path := range everyPath {
			header := get(handlerOf(apitest.Working(), token), path, "").Header()
			for name, want := range map[string]string{
				"X-Content-Type-Options": "nosniff", "Referrer-Policy": "no-referrer", "X-Frame-Options": "DENY", "Cache-Control": "no-store",
				"Cross-Origin-Resource-Policy": "same-origin", "Cross-Origin-Opener-Policy": "same-origin", "Access-Control-Allow-Origin": "",
			} {
				if got := header.Get(name); got != want {
					t.Errorf("%s, %s: %q", path, name, got)
				}
			}
			if policy := header.Get("Content-Security-Policy"); !strings.Contains(policy, "default-src 'none'") || !strings.Contains(policy, "frame-ancestors 'none'") {
				t.Errorf("%s: %s", path, policy)
			}
		}
	}
}

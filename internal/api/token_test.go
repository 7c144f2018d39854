package api

import (
	"encoding/base64"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/capmon/capmon/internal/api/apitest"
	"golang.org/x/net/http/httpguts"
)

// A request without exactly this token gets no data.
func FuzzTokenCheck(f *testing.F) {
	const token = "0123456789abcdef"
	for _, given := range []string{"", token, "Bearer", "Bearer ", "Bearer " + token, "bearer " + token, "Bearer  " + token, "Bearer " + token + "0", "Basic " + token, basic("any", token), basic("", token), basic(token, ""), basic("any", token+"0"), "Bearer " + token + "\x00"} {
		f.Add(token, given)
	}
	f.Add("a", "Bearer a")
	f.Fuzz(func(t *testing.T, token, given string) {
		if token == "" {
			return // no token is required; ReadToken never returns it
		}
		want := http.StatusUnauthorized
		if _, password, basic := basicAuth(given); given == "Bearer "+token || basic && password == token && !strings.HasPrefix(given, "Bearer ") {
			want = http.StatusOK
		}
		got := get(handlerOf(apitest.Working(), token), "/healthz", given)
		if got.Code != want || want != http.StatusOK && strings.Contains(got.Body.String(), token) && len(token) >= minTokenLength {
			t.Errorf("token %q, given %q: %d, %s", token, given, got.Code, got.Body)
		}
	})
}

func basic(user, password string) string {
	return "Basic " + base64.StdEncoding.EncodeToString([]byte(user+":"+password))
}

func basicAuth(given string) (user, password string, ok bool) {
	return (&http.Request{Header: http.Header{"Authorization": {given}}}).BasicAuth()
}

// A browser asks for a password only if the response requests it.
func TestBrowsersAskForTheToken(t *testing.T) {
	got := get(handlerOf(apitest.Working(), "0123456789abcdef"), "/", "")
	if challenges := strings.Join(got.Header().Values("WWW-Authenticate"), "\n"); got.Code != 401 || !strings.Contains(challenges, "\nBasic realm=") {
		t.Errorf("%d, %q", got.Code, challenges)
	}
	if got := get(handlerOf(apitest.Working(), "0123456789abcdef"), "/", basic("", "0123456789abcdef")); got.Code != 200 {
		t.Errorf("%d, %s", got.Code, got.Body)
	}
}

// A token that ReadToken returns is valid in a header and equal to the text in the file.
func FuzzReadToken(f *testing.F) {
	for _, text := range []string{"", "short", "0123456789abcdef", "0123456789abcdef\n", " \t0123456789abcdef\r\n", "0123456789 abcdef", "0123456789abcdef\nmore", "0123456789abcde\x00f", "0123456789abcdef\xff", "ﬀﬀﬀﬀﬀﬀﬀﬀﬀ", "\u00850123456789abcdef"} {
		f.Add(text)
	}
	path := filepath.Join(f.TempDir(), "token")
	f.Fuzz(func(t *testing.T, text string) {
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		token, err := ReadToken(path)
		if (err == nil) == (token == "") {
			t.Errorf("%q, %v", token, err)
		}
		if err != nil {
			return
		}
		if len(token) < minTokenLength || strings.ContainsAny(token, " \t\r\n") || strings.TrimSpace(text) != token || !httpguts.ValidHeaderFieldValue("Bearer "+token) {
			t.Errorf("read %q from %q", token, text)
		}
	})
}

func TestTokensThatOthersCanReadAreRejected(t *testing.T) {
	path := filepath.Join(t.TempDir(), "token")
	if err := os.WriteFile(path, []byte("0123456789abcdef"), 0o600); err != nil {
		t.Fatal(err)
	}
	for mode, fine := range map[os.FileMode]bool{0o600: true, 0o400: true, 0o440: true, 0o640: true, 0o604: false, 0o620: false, 0o610: false, 0o601: false} {
		if err := os.Chmod(path, mode); err != nil {
			t.Fatal(err)
		}
		if _, err := ReadToken(path); (err == nil) != fine {
			t.Errorf("mode %o: %v", mode, err)
		}
	}
	if _, err := ReadToken(path + "-none"); err == nil {
		t.Error("reading a missing file succeeded")
	}
}

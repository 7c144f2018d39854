package api

import (
	"crypto/sha256"
	"crypto/subtle"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"strings"
)

// requireToken returns a handler that rejects requests without the token. If there is no token, it returns next.
func (s *server) requireToken(next http.Handler) http.Handler {
	if s.options.Token == "" {
		return next
	}
	want := sha256.Sum256([]byte(s.options.Token))
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		token, ok := tokenOf(r)
		got := sha256.Sum256([]byte(token))
		if !ok || subtle.ConstantTimeCompare(got[:], want[:]) != 1 {
			w.Header().Add("WWW-Authenticate", "Bearer")
			w.Header().Add("WWW-Authenticate", `Basic realm="capmon: the password is the token", charset="UTF-8"`) // a browser asks for the password
			w.Header().Set("Connection", "close")                                                                  // clients without the token must not occupy connections
			problem(w, http.StatusUnauthorized, errors.New("the token is missing or wrong: send Authorization: Bearer TOKEN, or the token as the password of HTTP Basic with any user name"))
			return
		}
		next.ServeHTTP(w, r)
	})
}

// tokenOf returns the token of a request: a bearer token or, because browsers cannot send one, the password of HTTP
// Basic.
func tokenOf(r *http.Request) (token string, ok bool) {
	if token, ok = strings.CutPrefix(r.Header.Get("Authorization"), "Bearer "); ok {
		return token, true
	}
	_, token, ok = r.BasicAuth()
	return token, ok
}

// rejectOtherSites returns a handler that rejects requests that the pages of other sites make in the browser of a user:
//   - with a name that the other site's DNS server resolves to this machine (DNS rebinding). Such a request has no
//     token, so the name does not matter if there is a token.
//   - with the address of this machine. The browser may add the token. Only links from other sites are allowed, because
//     they show the response to the user, and not to the other site.
func (s *server) rejectOtherSites(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch {
		case s.options.Token == "" && !isLocalName(r):
			problem(w, http.StatusMisdirectedRequest, fmt.Errorf("the host name %q is not accepted, because other sites could use it: use localhost or an IP address", r.Host))
		case isOfOtherSite(r):
			problem(w, http.StatusForbidden, errors.New("pages of other sites cannot send requests to capmon: open the address itself"))
		default:
			next.ServeHTTP(w, r)
		}
	})
}

// isLocalName reports whether no DNS server could have resolved the host name of a request: it is an IP address or
// localhost. The name capmon is for clients of the socket that need any name. Browsers cannot use it: they always send
// Accept-Language.
func isLocalName(r *http.Request) bool {
	name := r.Host
	if host, _, err := net.SplitHostPort(name); err == nil {
		name = host
	}
	name = strings.ToLower(name)
	if name == "capmon" {
		_, browser := r.Header["Accept-Language"]
		return !browser
	}
	_, err := netip.ParseAddr(strings.Trim(name, "[]"))
	return err == nil || name == "" || name == "localhost" || strings.HasSuffix(name, ".localhost")
}

// isOfOtherSite reports whether a browser sends a request for a page of another origin, and not for a link. Other
// clients do not send these headers.
func isOfOtherSite(r *http.Request) bool {
	if origin := r.Header.Get("Origin"); origin != "" {
		if from, err := url.Parse(origin); err != nil || from.Host != r.Host {
			return true
		}
	}
	switch r.Header.Get("Sec-Fetch-Site") {
	case "", "none", "same-origin":
		return false
	}
	return r.Header.Get("Sec-Fetch-Mode") != "navigate" || r.Header.Get("Sec-Fetch-Dest") != "document"
}

// notForOtherSites returns a handler whose responses browsers do not show in, pass to, or keep for other sites.
func notForOtherSites(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		for name, value := range map[string]string{
			"Cache-Control":                "no-store",
			"Content-Security-Policy":      "default-src 'none'; frame-ancestors 'none'",
			"Cross-Origin-Opener-Policy":   "same-origin",
			"Cross-Origin-Resource-Policy": "same-origin",
			"Referrer-Policy":              "no-referrer",
			"X-Content-Type-Options":       "nosniff",
			"X-Frame-Options":              "DENY",
		} {
			w.Header().Set(name, value)
		}
		next.ServeHTTP(w, r)
	})
}

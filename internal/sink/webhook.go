package sink

import (
	"bytes"
	"cmp"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/url"
	"os"
	"slices"
	"strconv"
	"strings"
	"time"

	"golang.org/x/net/http/httpguts"

	"github.com/capmon/capmon/internal/printable"
)

const (
	// answerSize is how much of a receiver's answer is read: what it says of an error.
	answerSize = 4 << 10
	// longestRest is how long a receiver may ask to be left alone.
	longestRest = time.Hour
	// defaultTimeout is that of a delivery.
	defaultTimeout = Duration(10 * time.Second)
	// defaultResolve is how long an alert lasts for Alertmanager.
	defaultResolve = Duration(5 * time.Minute)
)

// Webhook is a receiver that takes alerts by HTTP POST.
type Webhook struct {
	// URL that alerts are posted to. It may have secrets, and is never shown.
	URL string `yaml:"url,omitempty"`
	// URLFile is a file with the URL, instead.
	URLFile string `yaml:"url-file,omitempty"`
	// Preset of the body; without it, it is the message's JSON.
	Preset Preset `yaml:"preset,omitempty"`
	// Template of the body in the language of text/template, instead of a preset.
	Template string `yaml:"template,omitempty"`
	// Headers of each request.
	Headers map[string]string `yaml:"headers,omitempty"`
	// HeaderFiles are files with the values of further headers.
	HeaderFiles map[string]string `yaml:"header-files,omitempty"`
	// Timeout of each request; 10 s if it is 0.
	Timeout Duration `yaml:"timeout,omitempty"`
	// ResolveAfter is how long an alert lasts for Alertmanager; 5 minutes if it is 0.
	ResolveAfter Duration `yaml:"resolve-after,omitempty"`
	// CAFile has certificates in PEM of who may sign the receiver's; the system's if it is "".
	CAFile string `yaml:"ca-file,omitempty"`

	authorities string // what is in CAFile
}

// webhook is the transport of a Webhook.
type webhook struct {
	Webhook
	body   body
	url    string
	shown  string // the URL without secrets
	hide   *strings.Replacer
	client *http.Client
}

func (w Webhook) open() (transport, error) {
	body, err := w.makeBody()
	if err != nil {
		return nil, err
	}
	target, err := url.Parse(w.URL)
	if err != nil {
		return nil, errNoURL
	}
	if w.Preset == Alertmanager {
		target = target.JoinPath("api/v2/alerts")
	}
	dialing := http.DefaultTransport.(*http.Transport).Clone()
	if dialing.TLSClientConfig, err = tlsConfig(w.authorities); err != nil {
		return nil, err
	}
	w.Timeout = cmp.Or(w.Timeout, defaultTimeout)
	return &webhook{
		Webhook: w, body: body, url: target.String(), shown: target.Scheme + "://" + target.Host,
		hide: hiding(target, w.Headers),
		client: &http.Client{
			Transport: dialing,
			// A redirected POST may lose its body, and the headers are not meant for others.
			CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
		},
	}, nil
}

// resolved has what is in the files that it names.
func (w Webhook) resolved() (Destination, error) {
	if w.URLFile != "" {
		text, err := readSecret("url-file", w.URLFile)
		if err != nil {
			return nil, err
		}
		if err := checkURL(text); err != nil {
			return nil, fmt.Errorf("url-file %s: %w", w.URLFile, err)
		}
		w.URL = text
	}
	headers := maps.Clone(w.Headers)
	for name, path := range w.HeaderFiles {
		value, err := readSecret("header-files", path)
		if err != nil {
			return nil, err
		}
		if !httpguts.ValidHeaderFieldValue(value) {
			return nil, fmt.Errorf("header-files: what is in %s cannot be the value of a header", path)
		}
		if headers == nil {
			headers = make(map[string]string)
		}
		headers[name] = value
	}
	w.Headers = headers
	var err error
	w.authorities, err = readAuthorities(w.CAFile)
	return w, err
}

// errNoURL does not show it: it may have secrets.
var errNoURL = errors.New("it is no URL with http:// or https:// and a host")

func checkURL(text string) error {
	target, err := url.Parse(text)
	if err != nil || target.Scheme != "http" && target.Scheme != "https" || target.Hostname() == "" || target.Fragment != "" {
		return errNoURL
	}
	return nil
}

// readSecret reads a file with one line. Errors do not show what is in it.
func readSecret(key, path string) (string, error) {
	data, err := os.ReadFile(path)
	if err != nil {
		return "", fmt.Errorf("%s: %w", key, err)
	}
	text := strings.TrimSpace(string(data))
	if text == "" {
		return "", fmt.Errorf("%s: %s is empty", key, path)
	}
	return text, nil
}

func readAuthorities(path string) (string, error) {
	if path == "" {
		return "", nil
	}
	data, err := os.ReadFile(path)
	if err != nil {
		return "", fmt.Errorf("ca-file: %w", err)
	}
	if _, err := certificatePool(string(data)); err != nil {
		return "", fmt.Errorf("ca-file %s: %w", path, err)
	}
	return string(data), nil
}

// hiding replaces what is secret, where a receiver repeats it.
func hiding(target *url.URL, headers map[string]string) *strings.Replacer {
	secrets := []string{target.RequestURI(), target.Path, target.RawQuery}
	if target.User != nil {
		password, _ := target.User.Password()
		secrets = append(secrets, target.User.String(), password)
	}
	secrets = append(secrets, strings.Split(target.Path, "/")...)
	for _, values := range target.Query() {
		secrets = append(secrets, values...)
	}
	for _, value := range headers {
		secrets = append(secrets, value)
		secrets = append(secrets, strings.Fields(value)...) // Bearer, and the token
	}
	var pairs []string
	for _, secret := range secrets {
		if len(secret) > 3 {
			pairs = append(pairs, secret, "…")
		}
	}
	return strings.NewReplacer(pairs...)
}

func (w *webhook) most() int {
	if w.Preset == Alertmanager {
		return manyMessages
	}
	return 1
}

func (w *webhook) close() error {
	w.client.CloseIdleConnections()
	return nil
}

func (w *webhook) send(ctx context.Context, messages []Message) error {
	body, err := w.body(messages)
	if err != nil {
		return refused("the body cannot be made: %v", err)
	}
	ctx, cancel := context.WithTimeout(ctx, time.Duration(w.Timeout))
	defer cancel()
	request, err := http.NewRequestWithContext(ctx, http.MethodPost, w.url, bytes.NewReader(body))
	if err != nil {
		return fmt.Errorf("%s: the request cannot be made", w.shown)
	}
	request.Header.Set("Content-Type", "application/json")
	request.Header.Set("User-Agent", "capmon")
	if len(messages) == 1 {
		request.Header.Set("Idempotency-Key", messages[0].ID)
	}
	for name, value := range w.Headers {
		request.Header.Set(name, value)
		if strings.EqualFold(name, "Host") {
			request.Host = value
		}
	}
	response, err := w.client.Do(request)
	if err != nil {
		return fmt.Errorf("%s: %w", w.shown, bare(err))
	}
	defer response.Body.Close()
	// What comes beyond is not read, and closing ends the connection then.
	answer, _ := io.ReadAll(io.LimitReader(response.Body, answerSize))
	return w.judge(response, answer)
}

// bare is an error of a client without the URL.
func bare(err error) error {
	var withURL *url.Error
	if errors.As(err, &withURL) {
		return withURL.Err
	}
	return err
}

// passing are the answers 4xx that do not depend on what is sent: they pass when the receiver, its
// address or the secret is put right. 403 is none: what filters requests gives it to single ones,
// and who chooses an alert's words must not be able to hold all up.
var passing = []int{
	http.StatusUnauthorized, http.StatusNotFound, http.StatusMethodNotAllowed, http.StatusProxyAuthRequired,
	http.StatusRequestTimeout, http.StatusGone, http.StatusMisdirectedRequest, http.StatusTooEarly, http.StatusTooManyRequests,
}

// judge makes an error of an answer that does not say that the messages were taken.
func (w *webhook) judge(response *http.Response, answer []byte) error {
	code := response.StatusCode
	text := fmt.Sprintf("%s answered %d %s", w.shown, code, http.StatusText(code))
	if said := strings.TrimSpace(string(answer)); said != "" {
		text += ": " + shorten(printable.Text(w.hide.Replace(said)))
	}
	switch {
	case code >= 200 && code < 300:
		return nil
	case code >= 300 && code < 400:
		return fmt.Errorf("%s (redirects are not followed: give the URL itself)", text)
	case code >= 500, slices.Contains(passing, code):
		return &postponed{errors.New(text), rest(response.Header.Get("Retry-After"), time.Now())}
	}
	return refused("%s", text)
}

func shorten(text string) string {
	const most = 300
	if runes := []rune(text); len(runes) > most {
		return string(runes[:most]) + "…"
	}
	return text
}

// rest is how long a Retry-After asks for, as seconds or as a date: none if it says nothing.
func rest(header string, now time.Time) time.Duration {
	if seconds, err := strconv.ParseUint(header, 10, 31); err == nil {
		return min(time.Duration(seconds)*time.Second, longestRest)
	}
	if date, err := http.ParseTime(header); err == nil {
		return min(max(date.Sub(now), 0), longestRest)
	}
	return 0
}

func tlsConfig(authorities string) (*tls.Config, error) {
	config := &tls.Config{MinVersion: tls.VersionTLS12}
	if authorities != "" {
		pool, err := certificatePool(authorities)
		if err != nil {
			return nil, err
		}
		config.RootCAs = pool
	}
	return config, nil
}

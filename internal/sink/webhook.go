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
	// responseSize is the number of bytes of a response that capmon reads, for its error message.
	responseSize = 4 << 10
	// maxRetryAfter is the longest wait that capmon accepts in Retry-After.
	maxRetryAfter = time.Hour
	// defaultTimeout is the default timeout of a delivery.
	defaultTimeout = Duration(10 * time.Second)
	// defaultResolve is the default time until Alertmanager considers an alert resolved.
	defaultResolve = Duration(5 * time.Minute)
)

// Webhook is a receiver of alerts in HTTP POST requests.
type Webhook struct {
	// URL that alerts are posted to. It may contain secrets and is never shown.
	URL string `yaml:"url,omitempty"`
	// URLFile is a file that contains the URL.
	URLFile string `yaml:"url-file,omitempty"`
	// Preset of the body; "" for the JSON of the message.
	Preset Preset `yaml:"preset,omitempty"`
	// Template of the body in the language of text/template, instead of a preset.
	Template string `yaml:"template,omitempty"`
	// Headers of each request.
	Headers map[string]string `yaml:"headers,omitempty"`
	// HeaderFiles maps further headers to files that contain their values.
	HeaderFiles map[string]string `yaml:"header-files,omitempty"`
	// Timeout of each request; 0 for 10 s.
	Timeout Duration `yaml:"timeout,omitempty"`
	// ResolveAfter is the time until Alertmanager considers an alert resolved; 0 for 5 minutes.
	ResolveAfter Duration `yaml:"resolve-after,omitempty"`
	// CAFile contains, in PEM, the certificates of the authorities that can sign the receiver's certificate;
	// "" for the system's authorities.
	CAFile string `yaml:"ca-file,omitempty"`

	authorities string // the contents of CAFile
}

// webhook is the transport of a [Webhook].
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
	transport := http.DefaultTransport.(*http.Transport).Clone()
	if transport.TLSClientConfig, err = tlsConfig(w.authorities); err != nil {
		return nil, err
	}
	w.Timeout = cmp.Or(w.Timeout, defaultTimeout)
	return &webhook{
		Webhook: w, body: body, url: target.String(), shown: target.Scheme + "://" + target.Host,
		hide: hiding(target, w.Headers),
		client: &http.Client{
			Transport: transport,
			// A redirected POST may lose its body, and other servers must not get the headers.
			CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
		},
	}, nil
}

// resolved returns w with the contents of the files that it names.
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
			return nil, fmt.Errorf("header-files: the contents of %s are not a valid header value", path)
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

// errNoURL does not contain the URL, which may contain secrets.
var errNoURL = errors.New("invalid URL: use http://HOST/… or https://HOST/… without #")

func checkURL(text string) error {
	target, err := url.Parse(text)
	if err != nil || target.Scheme != "http" && target.Scheme != "https" || target.Hostname() == "" || target.Fragment != "" {
		return errNoURL
	}
	return nil
}

// readSecret reads a file with one line. Errors do not show its contents.
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

// hiding returns a replacer that hides secrets in responses of the receiver.
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

func (w *webhook) maxBatch() int {
	if w.Preset == Alertmanager {
		return batchSize
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
		return rejectionf("making the request body: %v", err)
	}
	ctx, cancel := context.WithTimeout(ctx, time.Duration(w.Timeout))
	defer cancel()
	request, err := http.NewRequestWithContext(ctx, http.MethodPost, w.url, bytes.NewReader(body))
	if err != nil {
		return fmt.Errorf("%s: cannot create the request", w.shown) // err may contain the URL
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
		return fmt.Errorf("%s: %w", w.shown, withoutURL(err))
	}
	defer response.Body.Close()
	// If the body is longer, Close closes the connection.
	body, _ = io.ReadAll(io.LimitReader(response.Body, responseSize))
	return w.result(response, body)
}

// withoutURL returns an error of the HTTP client without the URL.
func withoutURL(err error) error {
	var withURL *url.Error
	if errors.As(err, &withURL) {
		return withURL.Err
	}
	return err
}

// retryable lists the 4xx status codes that do not depend on the message. They end when the receiver, its
// address or the secret is corrected. Status 403 is not in the list, because firewalls return it for single requests.
// A container that chooses the text of an alert must not be able to block all alerts.
var retryable = []int{
	http.StatusUnauthorized, http.StatusNotFound, http.StatusMethodNotAllowed, http.StatusProxyAuthRequired,
	http.StatusRequestTimeout, http.StatusGone, http.StatusMisdirectedRequest, http.StatusTooEarly, http.StatusTooManyRequests,
}

// result returns the result of a delivery from the response: nil if the receiver accepted the messages.
func (w *webhook) result(response *http.Response, body []byte) error {
	code := response.StatusCode
	text := fmt.Sprintf("%s answered %d %s", w.shown, code, http.StatusText(code))
	if message := strings.TrimSpace(string(body)); message != "" {
		text += ": " + shorten(printable.Text(w.hide.Replace(message)))
	}
	switch {
	case code >= 200 && code < 300:
		return nil
	case code >= 300 && code < 400:
		return fmt.Errorf("%s (redirects are not followed: configure the final URL)", text)
	case code >= 500, slices.Contains(retryable, code):
		return &retryLater{errors.New(text), retryAfter(response.Header.Get("Retry-After"), time.Now())}
	}
	return rejectionf("%s", text)
}

func shorten(text string) string {
	const maxRunes = 300
	if runes := []rune(text); len(runes) > maxRunes {
		return string(runes[:maxRunes]) + "…"
	}
	return text
}

// retryAfter returns the wait that a Retry-After header requires, in seconds or until a date; 0 if it is
// missing or invalid.
func retryAfter(header string, now time.Time) time.Duration {
	if seconds, err := strconv.ParseUint(header, 10, 31); err == nil {
		return min(time.Duration(seconds)*time.Second, maxRetryAfter)
	}
	if date, err := http.ParseTime(header); err == nil {
		return min(max(date.Sub(now), 0), maxRetryAfter)
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

package e2e

import (
	"strings"
	"testing"
)

// The Markdown of each command begins with the result. It has the overview, and the list of each container with the
// command that applies the list.
func TestMarkdownOfRealContainers(t *testing.T) {
	t.Parallel()
	first := saved(t, "marked", "bb", "sh", "-c", "touch /tmp/f && chown 5 /tmp/f")
	second := saved(t, "marked", "--cap-drop=MKNOD", "bb", "sh", "-c", "touch /tmp/f && chown 5 /tmp/f; probe rawsock")
	const overview = "\n| STATUS | CONTAINER | IMAGE | GRANTED | USED | UNUSED | OBSERVED |\n| --- |"
	list := []string{
		"\n<summary><code>marked</code> of <code>bb:latest</code>: ", "\n**List: CHOWN, NET_RAW**\n",
		"\n```sh\ndocker run --cap-drop=ALL --cap-add=CHOWN --cap-add=NET_RAW …\n```\n\n</details>\n",
	}
	begins := func(code int, arguments []string, start string, texts ...string) {
		t.Helper()
		if r := expected(t, code, arguments, append(texts, list...)...); !strings.HasPrefix(r.stdout, start) {
			t.Errorf("%s: the output does not begin with %q:\n%s", strings.Join(arguments, " "), start, r.stdout)
		}
	}
	begins(exitDone, []string{"report", "-o", "markdown", second}, "**1 of 1 container has unused capabilities**\n", overview,
		"\n| UNUSED | `marked` | `bb:latest` | 13 | 2 | 11 ", "\n- CHOWN, granted: `chown`: `", "in `inet_create`, ")
	begins(exitFindings, []string{"diff", "--fail-on-new", "-o", "markdown", first, second}, "**New capabilities in 1 of 1 container**\n",
		"\n| NEW | `marked` | `bb:latest` | NET_RAW | - | - | MKNOD |\n", "\n- NET_RAW: NEW (granted: yes)\n  - new pattern of use: `")
	begins(exitFindings, []string{"check", "--deny=NET_RAW", "-o", "markdown", second}, "**Failed: 1 of 1 container violates a rule**\n", overview,
		"\n| FAIL | `marked` | ", "; the rule denies NET_RAW (rule `--deny`)\n  - `")
	begins(exitDone, []string{"check", "--deny=SYS_ADMIN", "-o", "markdown", second}, "**Passed: no container violates a rule**\n", "\n| PASS | `marked` | ")

	r := execute(t, binary, "profile", "-o", "markdown", "--", "docker", "run", "--rm", "--name=marked", "bb", "echo", "hello")
	if r.code != exitDone || !strings.HasPrefix(r.stdout, "**1 of 1 container has unused capabilities**\n") || !strings.Contains(r.stdout, overview) || !strings.Contains(r.stderr, "hello\n") {
		t.Errorf("profile: exit code %d\n%s%s", r.code, r.stdout, r.stderr)
	}
}

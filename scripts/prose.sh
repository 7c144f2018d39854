#!/bin/bash
# Checks the words of documents and of comments in Go and C with vale. It also checks that their lines have at most 120
# columns. A row of a table, a code block and a link may be longer.
#
#   prose.sh VALE    VALE is the path of the program vale
set -euo pipefail

cd "$(dirname "${BASH_SOURCE[0]}")/.."
mapfile -t files < <(git ls-files '*.md' '*.go' '*.[ch]' | grep --invert-match --extended-regexp '_bpfel\.go$|_x86_bpfel|_arm64_bpfel|/testdata/|vmlinux')
code=0
"$1" --output line "${files[@]}" || code=1
perl -CSD -Mutf8 -ne '
	if ($. == 1) { $block = 0 }
	my $document = $ARGV =~ /\.md$/;
	$block = !$block if $document && /^ *```/;
	my $skipped = $document ? $block || /^(\||    )/ : !m{^\s*(//|/?\*(?!\w))} || m{^\s*//(go:|nolint)};
	chomp;
	s/\t/    /g;
	if (!$skipped && !m{https?://} && length > 120) {
		printf "%s:%d: this line has %d columns: use at most 120\n", $ARGV, $., length;
		$found = 1;
	}
	close ARGV if eof;
	END { $? = $found }
' "${files[@]}" || code=1
exit "$code"

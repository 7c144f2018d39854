package main

import (
	"encoding/xml"
	"io"
	"strings"
	"testing"
)

func TestConvert(t *testing.T) {
	var out strings.Builder
	if err := convert(strings.NewReader("plain \x1b[1;31mred <&>\x1b[0m\x1b[K end\n\x1b[7mselected\x1b[27m\n"), &out); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{
		`width="160"`, `height="60"`, `>plain</text>`, `x="60" y="25" textLength="24" fill="#f14c4c" font-weight="bold">red</text>`,
		`x="92" y="25" textLength="24" fill="#f14c4c" font-weight="bold">&lt;&amp;&gt;</text>`, `x="124" y="25" textLength="24" fill="#d4d4d4">end</text>`, `<rect x="12" y="30" width="64" height="18" fill="#d4d4d4"/>`, `fill="#1e1e1e">selected</text>`,
	} {
		if !strings.Contains(out.String(), want) {
			t.Errorf("the image lacks %s:\n%s", want, out.String())
		}
	}
	for decoder := xml.NewDecoder(strings.NewReader(out.String())); ; {
		if _, err := decoder.Token(); err == io.EOF {
			break
		} else if err != nil {
			t.Fatal(err)
		}
	}
}

package report

import (
	"io"
	"strings"
)

// Annotations writes the workflow commands by which GitHub Actions shows each problem at its line of the source.
func (r *Report) Annotations(w io.Writer) error {
	out := &textWriter{w: w}
	for _, p := range r.Problems() {
		out.printf("::error ")
		if p.File != "" {
			out.printf("file=%s,line=%d,", property(p.File), p.Line)
		}
		out.printf("title=%s::%s\n", property(p.Title()), data(p.Text+"\n\nAgain: "+strings.Join(p.Commands, "\nor: ")))
	}
	return out.err
}

var (
	dataEscaper     = strings.NewReplacer("%", "%25", "\r", "%0D", "\n", "%0A")
	propertyEscaper = strings.NewReplacer("%", "%25", "\r", "%0D", "\n", "%0A", ":", "%3A", ",", "%2C")
)

// data and property escape as the runner's own toolkit does.
func data(text string) string     { return dataEscaper.Replace(text) }
func property(text string) string { return propertyEscaper.Replace(text) }

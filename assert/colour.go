package assert

import (
	"os"
	"strings"
)

// painted shows a text in colour if it will be read on a terminal, and the reader has not asked for none (no-color.org).
func painted(text string) string {
	if !onTerminal() {
		return text
	}
	return paint(text)
}

// onTerminal says whether a test's output goes to a terminal that knows colours.
func onTerminal() bool {
	if os.Getenv("NO_COLOR") != "" || os.Getenv("TERM") == "dumb" || os.Getenv("TERM") == "" {
		return false
	}
	info, err := os.Stdout.Stat()
	return err == nil && info.Mode()&os.ModeCharDevice != 0
}

// paint makes marked hops red and the lines that say what happened bold.
func paint(text string) string {
	const red, bold, plain = "\x1b[31m", "\x1b[1m", "\x1b[0m"
	var b strings.Builder
	for line := range strings.Lines(text) {
		content, end := strings.TrimSuffix(line, "\n"), ""
		if content != line {
			end = "\n"
		}
		switch {
		case strings.HasPrefix(content, "  →"):
			content = red + content + plain
		case strings.HasPrefix(content, "but "), strings.HasPrefix(content, "Outcome:"), strings.HasPrefix(content, "Look at:"):
			content = bold + content + plain
		}
		b.WriteString(content + end)
	}
	return b.String()
}

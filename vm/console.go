package vm

import (
	"io"
	"regexp"
	"slices"
	"strings"
	"sync"
)

// consoleLines is how many of the console's last lines are kept; an oops with its registers and stack has some 60.
const consoleLines = 120

// consoleLog keeps the last lines of a guest's console, and passes everything on.
type consoleLog struct {
	mu    sync.Mutex
	out   io.Writer // may be nil
	lines []string
	part  []byte
}

func (c *consoleLog) Write(p []byte) (int, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.out != nil {
		_, _ = c.out.Write(p) // the console is an extra: a reader that went away must not end the machine
	}
	c.part = append(c.part, p...)
	for {
		i := slices.Index(c.part, '\n')
		if i < 0 {
			return len(p), nil
		}
		if line := clean(string(c.part[:i])); line != "" {
			c.lines = append(c.lines, line)
		}
		c.part = c.part[i+1:]
		if len(c.lines) > consoleLines {
			c.lines = slices.Delete(c.lines, 0, len(c.lines)-consoleLines)
		}
	}
}

// escapes are what the firmware sends to clear the screen and to move the cursor.
var escapes = regexp.MustCompile(`\x1b(\[[0-9;?=]*[A-Za-z]|c)`)

func clean(line string) string {
	return strings.TrimRight(escapes.ReplaceAllString(line, ""), "\r \t")
}

// all returns the lines kept, with an unfinished last one.
func (c *consoleLog) all() []string {
	c.mu.Lock()
	defer c.mu.Unlock()
	out := slices.Clone(c.lines)
	if last := clean(string(c.part)); last != "" {
		out = append(out, last)
	}
	return out
}

// contains tells whether one of the lines kept contains text.
func (c *consoleLog) contains(text string) bool {
	return slices.ContainsFunc(c.all(), func(line string) bool { return strings.Contains(line, text) })
}

// word returns what the guest's first process said of its end.
func (c *consoleLog) word() (string, bool) {
	for _, line := range c.all() {
		if said, ok := strings.CutPrefix(line, consoleWord); ok {
			return said, true
		}
	}
	return "", false
}

// last returns the last n lines.
func (c *consoleLog) last(n int) []string {
	all := c.all()
	return all[max(0, len(all)-n):]
}

// The kernel's words: panic() in kernel/panic.c, and the first lines of an oops in arch/x86.
var (
	panicLine   = regexp.MustCompile(`Kernel panic - not syncing: (.*)`)
	troubleLine = regexp.MustCompile(`Kernel panic - not syncing|BUG: |Oops: |general protection fault|kernel BUG at|double fault|Unable to mount root`)
)

// panicked tells whether the kernel panicked, its reason, and the console from the first sign of trouble on.
func (c *consoleLog) panicked() (reason string, slice []string) {
	all := c.all()
	for i, line := range all {
		if m := panicLine.FindStringSubmatch(line); m != nil {
			start := slices.IndexFunc(all, troubleLine.MatchString)
			return m[1], all[min(start, i):]
		}
	}
	return "", nil
}

package topology

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"syscall"

	"github.com/waybill-dev/waybill/internal/netns"
)

// ToolError is a text that a program refused.
type ToolError struct {
	// Tool is the program, such as iptables-restore.
	Tool string
	// Line is the number of the offending line, from 1, and Text that line; 0 and empty if the program named none.
	Line int
	Text string
	// Output is all that the program wrote.
	Output string
}

// Error is what the program wrote, in one line, with the line that it is about.
func (e *ToolError) Error() string {
	message := strings.Join(strings.FieldsFunc(e.Output, func(r rune) bool { return r == '\n' }), "; ")
	if e.Line == 0 {
		return fmt.Sprintf("%s refuses the text: %s", e.Tool, message)
	}
	return fmt.Sprintf("%s refuses line %d, %q: %s", e.Tool, e.Line, e.Text, message)
}

// toolLine finds the number of the line in messages of iptables-restore ("line 3 failed", "Error occurred at line: 3")
// and of tc ("Command failed -:3").
var toolLine = regexp.MustCompile(`(?:line:? |-:)(\d+)`)

// kernelLacks finds the kernel's own messages about what it does not have (net/sched/sch_api.c, cls_api.c, act_api.c), as tc
// passes them on. The first is also what it says of a kind that nobody has ever heard of.
var kernelLacks = regexp.MustCompile(`Specified qdisc kind is unknown|TC classifier not found|Failed to load TC action module`)

// loadTexts gives the node's texts to the programs they are written for.
func (rn *runningNode) loadTexts(ctx context.Context) error {
	for _, text := range []struct {
		text, tool string
		args       []string
	}{
		{rn.node.TC, "tc", []string{"-batch", "-"}},
		{rn.node.IPTables, "iptables-restore", nil},
		{rn.node.IP6Tables, "ip6tables-restore", nil},
	} {
		if text.text == "" {
			continue
		}
		if err := runTool(ctx, rn.ns, text.text, text.tool, text.args...); err != nil {
			return err
		}
	}
	return nil
}

// runTool gives a text to a program inside the namespace.
func runTool(ctx context.Context, ns *netns.NS, text, tool string, args ...string) error {
	path, err := exec.LookPath(tool)
	for _, folder := range []string{"/usr/sbin", "/sbin"} { // outside an ordinary user's PATH
		if err != nil {
			path, err = exec.LookPath(filepath.Join(folder, tool))
		}
	}
	if err != nil {
		return fmt.Errorf("the program %s was not found: install it, or leave out what needs it", tool)
	}
	if !strings.HasSuffix(text, "\n") {
		text += "\n"
	}
	var output bytes.Buffer
	cmd := exec.CommandContext(ctx, path, args...)
	cmd.Stdin, cmd.Stdout, cmd.Stderr = strings.NewReader(text), &output, &output
	cmd.Env = append(os.Environ(), "LC_ALL=C")
	// As for nft.
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	err = ns.Do(cmd.Run)
	if exit := (*exec.ExitError)(nil); errors.As(err, &exit) && ctx.Err() == nil {
		refused := newToolError(tool, text, output.String())
		if kernelLacks.MatchString(refused.Output) {
			return &UnsupportedError{Feature: fmt.Sprintf("part that %q needs", refused.Text), Module: "of net/sched",
				Err: refused}
		}
		return refused
	}
	if err != nil {
		return fmt.Errorf("run %s: %w", tool, err)
	}
	return nil
}

// newToolError reads what a program wrote about a text.
func newToolError(tool, text, output string) *ToolError {
	e := &ToolError{Tool: tool, Output: strings.TrimSpace(output)}
	if at := toolLine.FindStringSubmatch(output); at != nil {
		lines := strings.Split(text, "\n")
		if line, err := strconv.Atoi(at[1]); err == nil && line >= 1 && line <= len(lines) {
			e.Line, e.Text = line, strings.TrimSpace(lines[line-1])
		}
	}
	return e
}

// setSysctls writes the node's settings.
func (rn *runningNode) setSysctls() error {
	if len(rn.node.Sysctls) == 0 {
		return nil
	}
	return rn.ns.Do(func() error {
		// Sorted, so that "all" comes before a device's own.
		for _, name := range slices.Sorted(maps.Keys(rn.node.Sysctls)) {
			err := os.WriteFile(sysctlFile(name), []byte(rn.node.Sysctls[name]), 0)
			if errors.Is(err, os.ErrNotExist) {
				return &UnsupportedError{Feature: "setting " + name, Module: "unknown", Err: syscall.ENOENT}
			}
			if err != nil {
				return fmt.Errorf("set %s to %q: %w", name, rn.node.Sysctls[name], err)
			}
		}
		return nil
	})
}

// sysctlFile is the file of a setting. Its parts are separated by slashes if it has any, else by dots.
func sysctlFile(name string) string {
	if !strings.Contains(name, "/") {
		name = strings.ReplaceAll(name, ".", "/")
	}
	return "/proc/sys/" + name
}

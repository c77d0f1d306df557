package topology

import (
	"bytes"
	"cmp"
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
	// File is the file that the text was in; empty for none.
	File string
	// Line is the number of the offending line, from 1, and Text that line; 0 and empty if the program named none.
	Line int
	Text string
	// Output is all that the program wrote.
	Output string
}

// Error is what the program wrote, in one line, with the line that it is about.
func (e *ToolError) Error() string {
	message := strings.Join(strings.FieldsFunc(e.Output, func(r rune) bool { return r == '\n' }), "; ")
	switch {
	case e.Line == 0 && e.File == "":
		return fmt.Sprintf("%s refuses the text: %s", e.Tool, message)
	case e.Line == 0:
		return fmt.Sprintf("%s refuses %s: %s", e.Tool, e.File, message)
	case e.File != "":
		return fmt.Sprintf("%s refuses line %d of %s, %q: %s", e.Tool, e.Line, e.File, e.Text, message)
	}
	return fmt.Sprintf("%s refuses line %d, %q: %s", e.Tool, e.Line, e.Text, message)
}

// toolLine finds the number of the line in messages of iptables-restore ("line 3 failed", "Error occurred at line: 3")
// and of tc ("Command failed -:3").
var toolLine = regexp.MustCompile(`(?:line:? |-:)(\d+)`)

// kernelLacks finds the kernel's own messages about what it does not have (net/sched/sch_api.c, cls_api.c, act_api.c), as tc
// passes them on. The first is also what it says of a kind that nobody has ever heard of.
var kernelLacks = regexp.MustCompile(`Specified qdisc kind is unknown|TC classifier not found|Failed to load TC action module`)

// nodeText is a text of a node, with the field that it is in and the program that it is written for.
type nodeText struct {
	field, text, tool string
	args              []string
}

// texts are those of the node, apart from the nftables ruleset.
func (node *Node) texts() []nodeText {
	return []nodeText{
		{"TC", node.TC, "tc", []string{"-batch", "-"}},
		{"IPTables", node.IPTables, "iptables-restore", nil},
		{"IP6Tables", node.IP6Tables, "ip6tables-restore", nil},
		{"EBTables", node.EBTables, "ebtables-restore", nil},
	}
}

// loadTexts gives the node's texts to the programs they are written for.
func (rn *runningNode) loadTexts(ctx context.Context) error {
	for _, text := range rn.node.texts() {
		if text.text == "" {
			continue
		}
		if err := runTool(ctx, rn.ns, text.text, text.tool, text.args...); err != nil {
			return rn.node.place.network.inText(rn.node, text.field, err)
		}
	}
	return nil
}

// content is a text, or that of the file that it names, and the name of the file.
func content(text string) (content, file string, err error) {
	file, named := strings.CutPrefix(text, "@")
	if !named {
		return text, "", nil
	}
	data, err := os.ReadFile(file)
	return string(data), file, err
}

// checkTexts reports files that cannot be read.
func (c *checker) checkTexts(path string) {
	for _, text := range append([]nodeText{{"NFT", c.node.NFT, "nft", nil}}, c.node.texts()...) {
		if _, _, err := content(text.text); err != nil {
			c.fault(path+"."+text.field, "read the text: %v", err)
		}
	}
}

// toolFolders are where programs are looked for besides PATH: administration programs are outside an ordinary user's, which
// su keeps.
var toolFolders = []string{"/usr/sbin", "/sbin"}

// packages are those that programs come with, where they are called otherwise.
var packages = map[string]string{
	"nft": "nftables", "tc": "iproute2", "iptables-restore": "iptables", "ip6tables-restore": "iptables",
	"ebtables-restore": "ebtables",
}

// findTool finds a program in PATH or in one of the folders.
func findTool(tool string, folders []string) (string, error) {
	places := []string{tool}
	for _, folder := range folders {
		places = append(places, filepath.Join(folder, tool))
	}
	for _, place := range places {
		if path, err := exec.LookPath(place); err == nil {
			return path, nil
		}
	}
	return "", fmt.Errorf("the program %s was not found: install the package %s", tool, cmp.Or(packages[tool], tool))
}

// runTool gives a text to a program inside the namespace.
func runTool(ctx context.Context, ns *netns.NS, text, tool string, args ...string) error {
	path, err := findTool(tool, toolFolders)
	if err != nil {
		return err
	}
	text, file, err := content(text)
	if err != nil {
		return fmt.Errorf("read the text for %s: %w", tool, err)
	}
	if !strings.HasSuffix(text, "\n") {
		text += "\n"
	}
	var output bytes.Buffer
	cmd := toolCommand(ctx, path, args...)
	cmd.Stdin, cmd.Stdout, cmd.Stderr = strings.NewReader(text), &output, &output
	err = ns.Do(cmd.Run)
	if exit := (*exec.ExitError)(nil); errors.As(err, &exit) && ctx.Err() == nil {
		refused := newToolError(tool, text, output.String())
		refused.File = file
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

// toolCommand is a run of a program.
func toolCommand(ctx context.Context, path string, args ...string) *exec.Cmd {
	cmd := exec.CommandContext(ctx, path, args...)
	// Messages end in the C library's words for errors, which follow the user's language.
	cmd.Env = append(os.Environ(), "LC_ALL=C")
	// A killed test leaves no program behind. The signal is sent when the thread that forked ends; Do keeps it locked until
	// Run has returned.
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	return cmd
}

// outputOf is what a program prints inside the namespace.
func outputOf(ctx context.Context, ns *netns.NS, tool string, args ...string) (string, error) {
	path, err := findTool(tool, toolFolders)
	if err != nil {
		return "", err
	}
	var out, errs bytes.Buffer
	cmd := toolCommand(ctx, path, args...)
	cmd.Stdout, cmd.Stderr = &out, &errs
	if err := ns.Do(cmd.Run); err != nil {
		return "", fmt.Errorf("run %s: %w: %s", tool, err, strings.TrimSpace(errs.String()))
	}
	return out.String(), nil
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

package topology

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"os/exec"
	"regexp"
	"strconv"
	"strings"

	"github.com/waybill-dev/waybill/internal/netns"
)

// VerdictSwitch is a ruleset that has the kernel report the verdicts of nftables, in all namespaces: it does as long as any ruleset
// has an expression that sets nftrace (nft_trace_enabled in net/netfilter/nft_meta.c). The chain has no hook, so that no packet comes
// by. In a node of its own it touches nothing else, and goes with the process that built it, however that ends.
const VerdictSwitch = "table ip waybill { chain switch { meta nftrace set 1; }; }\n"

// NFTError is a ruleset text that nft refused. The ruleset in force did not change.
type NFTError struct {
	// Message is nft's first error, without its position.
	Message string
	// File is the file that the text was in; empty for none.
	File string
	// Line is the number of the offending line, from 1, and Text that line; 0 and empty if nft named none.
	Line int
	Text string
	// More counts the errors after the first.
	More int
	// Output is all that nft wrote.
	Output string
}

// Error is one sentence.
func (e *NFTError) Error() string {
	var b strings.Builder
	b.WriteString("nft refuses ")
	if e.Line > 0 {
		fmt.Fprintf(&b, "line %d of ", e.Line)
	}
	b.WriteString(cmp.Or(e.File, "the ruleset"))
	if e.Line > 0 {
		fmt.Fprintf(&b, ", %q", strings.TrimSpace(e.Text))
	}
	b.WriteString(": ")
	b.WriteString(e.Message)
	switch {
	case e.More == 1:
		b.WriteString(" (and one more error)")
	case e.More > 1:
		fmt.Fprintf(&b, " (and %d more errors)", e.More)
	}
	return b.String()
}

var (
	// nftError finds an error at a position in the text on standard input: /dev/stdin:3:7-11: Error: …
	nftError = regexp.MustCompile(`(?m)^/dev/stdin:(\d+):[^ ]*: Error: (.*)$`)
	// nftAnyError finds also those without position, or in an included file.
	nftAnyError = regexp.MustCompile(`(?m)^(.*)Error: (.*)$`)
)

// newNFTError reads what nft wrote about the text.
func newNFTError(text, output string) *NFTError {
	e := &NFTError{Output: output, Message: strings.TrimSpace(output)}
	all := nftAnyError.FindAllStringSubmatch(output, -1)
	if len(all) > 0 {
		e.Message, e.More = strings.TrimSpace(all[0][1]+all[0][2]), len(all)-1
	}
	if at := nftError.FindStringSubmatch(output); at != nil && strings.Contains(all[0][0], at[0]) {
		line, err := strconv.Atoi(at[1])
		lines := strings.Split(text, "\n")
		if err == nil && line >= 1 && line <= len(lines) {
			e.Line, e.Text, e.Message = line, lines[line-1], at[2]
		}
	}
	return e
}

// runNFT runs nft inside the namespace. A run that fails returns what nft wrote on standard error and an
// *exec.ExitError.
func runNFT(ctx context.Context, ns *netns.NS, input string, args ...string) (stdout, stderr string, err error) {
	path, err := findTool("nft", toolFolders)
	if err != nil {
		return "", "", err
	}
	var out, errs bytes.Buffer
	cmd := toolCommand(ctx, path, args...)
	cmd.Stdin, cmd.Stdout, cmd.Stderr = strings.NewReader(input), &out, &errs
	err = ns.Do(cmd.Run)
	if err != nil && ctx.Err() != nil {
		err = ctx.Err()
	}
	return out.String(), errs.String(), err
}

// loadNFT gives the text to nft.
func loadNFT(ctx context.Context, ns *netns.NS, text string) error {
	text, file, err := content(text)
	if err != nil {
		return fmt.Errorf("read nft ruleset: %w", err)
	}
	if !strings.HasSuffix(text, "\n") {
		text += "\n" // nft refuses an include that ends without
	}
	_, stderr, err := runNFT(ctx, ns, text, "-f", "-")
	if exit := (*exec.ExitError)(nil); errors.As(err, &exit) && strings.TrimSpace(stderr) != "" {
		refused := newNFTError(text, stderr)
		refused.File = file
		return refused
	}
	if err != nil {
		return fmt.Errorf("load nft ruleset: %w", err)
	}
	return nil
}

// listNFT returns the ruleset with handles. Without state (-s): counters and quotas would show the numbers of the moment
// of listing, as if they belonged to the rule.
func listNFT(ctx context.Context, ns *netns.NS) (string, error) {
	stdout, stderr, err := runNFT(ctx, ns, "", "-a", "-s", "list", "ruleset")
	if err != nil {
		return "", fmt.Errorf("list nft ruleset: %w: %s", err, strings.TrimSpace(stderr))
	}
	return stdout, nil
}

package vm

import (
	"fmt"
	"regexp"
	"slices"
	"strings"
)

// KernelError says that the guest's kernel did not stay healthy while the program ran: it wrote of a warning, a lockup
// or a stall to its log, or became tainted. What Run returns beside it is valid.
type KernelError struct {
	Kernel   string
	ExitCode int // of the program
	// Taint holds the bits of the kernel's taint mask that were set while the program ran.
	Taint uint64
	// Log is the kernel's log from the first sign of trouble on; empty if only the taint shows it.
	Log []string
}

func (e *KernelError) Error() string {
	var said []string
	if len(e.Log) > 0 {
		said = append(said, e.Log[0])
	}
	if e.Taint != 0 {
		said = append(said, "it is tainted: "+taintText(e.Taint))
	}
	text := fmt.Sprintf("kernel %s was in trouble while the program ran, whose exit status was %d: %s", e.Kernel,
		e.ExitCode, strings.Join(said, "; "))
	if len(e.Log) > 1 {
		text += "\nits log from there on:\n  | " + strings.Join(e.Log, "\n  | ")
	}
	return text
}

// taints are the flags of the taint mask, from bit 0 on, and what they stand for
// (Documentation/admin-guide/tainted-kernels.rst).
var taints = []string{
	"P, a proprietary module was loaded", "F, a module was force-loaded", "S, the CPU is out of specification",
	"R, a module was force-unloaded", "M, the CPU reported a machine check", "B, a page was released in a bad state",
	"U, a program asked for it", "D, the kernel died of an oops", "A, an ACPI table was overridden", "W, a warning",
	"C, a staging driver was loaded", "I, a firmware bug was worked around", "O, an out-of-tree module was loaded",
	"E, an unsigned module was loaded", "L, a soft lockup", "K, the kernel was live-patched", "X, defined by the distribution",
	"T, built with struct randomization", "N, a test of the kernel was run", "J, a firmware debug command was used",
}

func taintText(mask uint64) string {
	var out []string
	for bit := range 64 {
		switch {
		case mask&(1<<bit) == 0:
		case bit < len(taints):
			out = append(out, taints[bit])
		default:
			out = append(out, fmt.Sprintf("bit %d", bit))
		}
	}
	return strings.Join(out, "; ")
}

// The kernel's own words for what must not happen: lib/bug.c, kernel/watchdog.c, kernel/rcu/tree_stall.h,
// kernel/hung_task.c, net/core/dev.c and the arch's traps.
var (
	illLine = regexp.MustCompile(`^WARNING: |\bBUG: |kernel BUG at|^Oops|general protection fault|UBSAN: |` +
		`INFO: rcu\w* .*stall|INFO: task .* blocked for more than|unregister_netdevice: waiting for`)
	killedLine = regexp.MustCompile(`^Out of memory: Killed process \d+ \(([^)]*)\)`)
)

// illLog is the part of a kernel's log that shows trouble, from its first sign on; empty if it shows none.
func illLog(lines []string) []string {
	i := slices.IndexFunc(lines, illLine.MatchString)
	if i < 0 {
		return nil
	}
	return lines[i:min(len(lines), i+consoleLines)]
}

// killed returns the names of the processes that the kernel killed for want of memory.
func killed(lines []string) []string {
	var out []string
	for _, l := range lines {
		if m := killedLine.FindStringSubmatch(l); m != nil && !slices.Contains(out, m[1]) {
			out = append(out, m[1])
		}
	}
	return out
}

package topology

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os/exec"
	"syscall"
	"time"
)

// Output is what a program wrote, and how it ended.
type Output struct {
	Stdout, Stderr string
	// Status is its exit status; that of a program which a signal ended is 128 and the signal's number, as in a shell.
	Status int
}

// Exec runs a program inside the node's network namespace and waits for it. Files, processes and users are the caller's; only the
// network is the node's. That the program fails is no error, it is in [Output.Status]; that it cannot be started is one, or that it
// is killed because the context ends. It is killed too if this process dies.
func (r *Running) Exec(ctx context.Context, node *Node, program string, args ...string) (Output, error) {
	rn, err := r.lookup(node)
	if err != nil {
		return Output{}, err
	}
	path, err := findTool(program, toolFolders)
	if err != nil {
		return Output{}, fmt.Errorf("node %s: %w", node, err)
	}
	var out, errs bytes.Buffer
	cmd := toolCommand(ctx, path, args...)
	cmd.Stdout, cmd.Stderr = &out, &errs
	cmd.WaitDelay = time.Second // for the rest of the output, which may be held open by what the program left running
	err = rn.ns.Do(cmd.Run)
	output := Output{Stdout: out.String(), Stderr: errs.String()}
	if exit := (*exec.ExitError)(nil); errors.As(err, &exit) && ctx.Err() == nil {
		output.Status = exitStatus(exit)
		return output, nil
	}
	if errors.Is(err, exec.ErrWaitDelay) {
		err = errors.New("it has ended, but something that it started holds its output open: redirect that one's output")
	}
	if err != nil && ctx.Err() != nil {
		err = fmt.Errorf("%w: it wrote %q and %q", ctx.Err(), output.Stdout, output.Stderr)
	}
	if err != nil {
		return output, fmt.Errorf("node %s: run %s: %w", node, program, err)
	}
	return output, nil
}

// exitStatus is the status as a shell tells it.
func exitStatus(exit *exec.ExitError) int {
	if status, ok := exit.Sys().(syscall.WaitStatus); ok && status.Signaled() {
		return 128 + int(status.Signal())
	}
	return exit.ExitCode()
}

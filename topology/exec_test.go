package topology

import (
	"context"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/go-quicktest/qt"
)

// TestExec: a program sees the node's network and nobody else's, and comes back as it ended.
func TestExec(t *testing.T) {
	need(t, "sh", "cat", "sleep")
	var n Network
	a, b := n.Add(Node{Name: "a", Sysctls: map[string]string{"net.ipv4.ip_default_ttl": "7"}}), n.Add(Node{Name: "b"})
	n.Connect(a, b)
	running := mustUp(t, &n)
	for _, test := range []struct {
		script string
		want   Output
	}{
		{"cat /proc/sys/net/ipv4/ip_default_ttl", Output{Stdout: "7\n"}},
		{"echo out; echo err >&2; exit 3", Output{Stdout: "out\n", Stderr: "err\n", Status: 3}},
		{"kill -TERM $$", Output{Status: 128 + 15}},
	} {
		output, err := running.Exec(t.Context(), a, "sh", "-c", test.script)
		qt.Assert(t, qt.IsNil(err), qt.Commentf("%s", test.script))
		qt.Check(t, qt.Equals(output, test.want))
	}
	output, err := running.Exec(t.Context(), b, "cat", "/proc/sys/net/ipv4/ip_default_ttl")
	qt.Assert(t, qt.IsNil(err))
	qt.Check(t, qt.Equals(output, Output{Stdout: "64\n"}))
}

func TestExecReportsWhatItCannotDo(t *testing.T) {
	need(t, "sh", "cat", "sleep")
	var n, other Network
	a := n.Add(Node{Name: "a"})
	running := mustUp(t, &n)
	soon := func() context.Context {
		ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
		t.Cleanup(cancel)
		return ctx
	}
	for _, test := range []struct {
		ctx  context.Context
		node *Node
		args []string
		want string
	}{
		{t.Context(), a, []string{"no-such-program"}, "node a: the program no-such-program was not found: install the package no-such-program"},
		{t.Context(), other.Add(Node{Name: "b"}), []string{"true"}, "node b is not part of the running network: add it before Up"},
		{soon(), a, []string{"sh", "-c", "echo half; exec sleep 60"}, `node a: run sh: context deadline exceeded: it wrote "half\n" and ""`},
		{t.Context(), a, []string{"sh", "-c", "sleep 5 &"},
			"node a: run sh: it has ended, but something that it started holds its output open: redirect that one's output"},
	} {
		_, err := running.Exec(test.ctx, test.node, test.args[0], test.args[1:]...)
		qt.Assert(t, qt.IsNotNil(err))
		qt.Check(t, qt.Equals(err.Error(), test.want))
	}
}

// TestExecLeavesNoProgram: when its context ends, the program is gone, and so is the output's pipe.
func TestExecLeavesNoProgram(t *testing.T) {
	need(t, "sh", "cat", "sleep")
	var n Network
	a := n.Add(Node{Name: "a"})
	running := mustUp(t, &n)
	ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
	defer cancel()
	output, err := running.Exec(ctx, a, "sh", "-c", "echo $$; exec sleep 60")
	qt.Assert(t, qt.ErrorIs(err, context.DeadlineExceeded))
	_, err = os.Stat("/proc/" + strings.TrimSpace(output.Stdout))
	qt.Check(t, qt.ErrorIs(err, os.ErrNotExist))
}

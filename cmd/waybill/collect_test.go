package main

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/go-quicktest/qt"
	"golang.org/x/sys/unix"

	"github.com/waybill-dev/waybill/internal/leak"
	"github.com/waybill-dev/waybill/topology"
)

// collecting is a run of waybill collect that observes what is sent in a namespace of the test, to port 7771 of its loopback: three
// events a datagram, because nobody listens.
type collecting struct {
	t       *testing.T
	cmd     *exec.Cmd
	stderr  *bufio.Reader
	running *topology.Running
	node    *topology.Node
	before  leak.Snapshot
}

// startCollecting returns when packets are observed.
func startCollecting(t *testing.T, stdout io.Writer, args ...string) *collecting {
	t.Helper()
	if os.Geteuid() != 0 {
		if os.Getenv("CI") == "true" {
			t.Fatal("needs root")
		}
		t.Skip("needs root")
	}
	var network topology.Network
	c := &collecting{t: t, node: network.Add(topology.Node{Name: "node"})}
	var err error
	c.running, err = topology.Up(t.Context(), &network)
	qt.Assert(t, qt.IsNil(err))
	t.Cleanup(func() { qt.Check(t, qt.IsNil(c.running.Close())) })
	c.before, err = leak.Take()
	qt.Assert(t, qt.IsNil(err))
	c.cmd = exec.Command("waybill", append([]string{"collect", "-f", "udp dst port 7771"}, args...)...)
	c.cmd.Stdout = stdout
	stderr, err := c.cmd.StderrPipe()
	qt.Assert(t, qt.IsNil(err))
	c.stderr = bufio.NewReader(stderr)
	qt.Assert(t, qt.IsNil(c.cmd.Start()))
	t.Cleanup(func() { _ = c.cmd.Process.Kill() }) // if the test fails before it has ended
	line, err := c.stderr.ReadString('\n')
	qt.Assert(t, qt.IsNil(err))
	qt.Assert(t, qt.Matches(line, `waybill: \d+ probes are armed\. Ctrl-C ends the collection\.\n`))
	return c
}

func (c *collecting) send(n int) {
	c.t.Helper()
	qt.Assert(c.t, qt.IsNil(c.running.Do(c.node, func() error {
		socket, err := net.ListenPacket("udp4", "127.0.0.1:0")
		if err != nil {
			return err
		}
		defer func() { _ = socket.Close() }()
		for range n {
			if _, err := socket.WriteTo([]byte("abc"), &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1), Port: 7771}); err != nil {
				return err
			}
		}
		return nil
	})))
}

// ends waits for the end, checks the exit status and that nothing is left, and returns what was said.
func (c *collecting) ends(status int) string {
	c.t.Helper()
	said, err := io.ReadAll(c.stderr)
	qt.Assert(c.t, qt.IsNil(err))
	_ = c.cmd.Wait() // the exit status is what counts
	qt.Check(c.t, qt.Equals(c.cmd.ProcessState.ExitCode(), status), qt.Commentf("%s", said))
	left, err := c.before.Left()
	qt.Check(c.t, qt.IsNil(err))
	qt.Check(c.t, qt.HasLen(left, 0))
	return string(said)
}

// printed is what waybill print says of a file.
func printed(file string) (lines []string, said string, status int) {
	var stdout, stderr strings.Builder
	cmd := exec.Command("waybill", "print", "--format", "single-line", file)
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	_ = cmd.Run()
	return strings.Split(strings.TrimSpace(stdout.String()), "\n"), stderr.String(), cmd.ProcessState.ExitCode()
}

// TestCollectInterrupted: what was sent right before Ctrl-C is in the file, and nothing is left.
func TestCollectInterrupted(t *testing.T) {
	const n = 2000
	args := []string{"-o", filepath.Join(t.TempDir(), "events")}
	if _, err := exec.LookPath("nft"); err == nil {
		args = append(args, "--allow-system-changes")
	}
	for _, signal := range []os.Signal{syscall.SIGINT, syscall.SIGTERM} {
		c := startCollecting(t, nil, args...)
		c.send(n)
		qt.Assert(t, qt.IsNil(c.cmd.Process.Signal(signal)))
		want := fmt.Sprintf("waybill: %d events of %d packets. Nothing was lost.\n", 3*n, n)
		qt.Check(t, qt.IsTrue(strings.HasSuffix(c.ends(0), want)))
		lines, said, status := printed(args[1])
		qt.Check(t, qt.HasLen(lines, 3*n))
		qt.Check(t, qt.Equals(said, ""))
		qt.Check(t, qt.Equals(status, 0))
	}
}

// TestCollectUnread: whoever reads goes away. The file has what there was until then.
func TestCollectUnread(t *testing.T) {
	file := filepath.Join(t.TempDir(), "events")
	r, w, err := os.Pipe()
	qt.Assert(t, qt.IsNil(err))
	c := startCollecting(t, w, "--print", "-o", file)
	qt.Assert(t, qt.IsNil(w.Close()))
	c.send(1)
	_, err = r.Read(make([]byte, 1))
	qt.Assert(t, qt.IsNil(err))
	qt.Assert(t, qt.IsNil(r.Close()))
	c.send(100) // more may be in there than is seen before it ends
	c.ends(128 + int(syscall.SIGPIPE))
	lines, said, status := printed(file)
	qt.Check(t, qt.IsTrue(len(lines) >= 1 && len(lines) <= 303))
	qt.Check(t, qt.Equals(said, ""))
	qt.Check(t, qt.Equals(status, 0))
}

// TestCollectFullDisk: the file ends behind a whole line, says by its lack of an end that something is missing, and can be read.
func TestCollectFullDisk(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("needs root to mount a small disk")
	}
	disk := t.TempDir()
	qt.Assert(t, qt.IsNil(unix.Mount("tmpfs", disk, "tmpfs", 0, "size=256k")))
	t.Cleanup(func() { qt.Check(t, qt.IsNil(unix.Unmount(disk, 0))) })
	file := filepath.Join(disk, "events")
	c := startCollecting(t, nil, "-o", file)
	c.send(1000) // three events of some 500 bytes each
	said := c.ends(statusFailed)
	qt.Check(t, qt.IsTrue(strings.HasSuffix(said, "waybill: write events: write "+file+": no space left on device\n")), qt.Commentf("%s", said))
	lines, said, status := printed(file)
	qt.Check(t, qt.IsTrue(len(lines) > 100), qt.Commentf("%d lines", len(lines)))
	qt.Check(t, qt.Equals(said, "waybill: "+file+" has no end: what collected it was cut off\n"))
	qt.Check(t, qt.Equals(status, statusFailed))
}

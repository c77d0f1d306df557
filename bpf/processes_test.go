package bpf

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"os"
	"os/exec"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/asm"
	"github.com/cilium/ebpf/link"
	"github.com/go-quicktest/qt"
	"github.com/vishvananda/netlink"
)

// childEnv is the index of a process that TestProcesses starts; switchEnv has it turn the nftables trace switch on.
const (
	childEnv  = "WAYBILL_TEST_CHILD"
	switchEnv = "WAYBILL_TEST_SWITCH"
)

const traceSwitch = `
table ip waybill {
	chain switch { meta nftrace set 1; }
}`

const observedRule = `
table ip filter {
	chain input { type filter hook input priority filter; udp dport 9 counter drop; }
}`

// TestChild is a process of TestProcesses: a tracker at work, until it is killed or its standard input ends.
func TestChild(t *testing.T) {
	index := os.Getenv(childEnv)
	if index == "" {
		return
	}
	h := newHost(t)
	if os.Getenv(switchEnv) != "" {
		h.loadNFT(t, traceSwitch)
	}
	// The cable's other end is the parent's, and is there for as long as this namespace.
	qt.Assert(t, qt.IsNil(h.Do(func() error {
		handle, err := netlink.NewHandle(syscall.NETLINK_ROUTE)
		if err != nil {
			return err
		}
		defer handle.Close()
		cable := netlink.NewVeth(netlink.NewLinkAttrs())
		cable.Name, cable.PeerName, cable.PeerNamespace = "eth0", witnessOf(index), netlink.NsPid(os.Getppid())
		return handle.LinkAdd(cable)
	})))
	tracker, err := Open(Options{})
	qt.Assert(t, qt.IsNil(err))
	scope := h.watch(t, tracker)
	qt.Assert(t, qt.IsNil(scope.Arm([]string{"ip_rcv", "ip_local_del*"})))

	ended := make(chan struct{})
	go func() {
		defer close(ended)
		_, _ = io.Copy(io.Discard, os.Stdin)
	}()
	for said := false; ; {
		select {
		case <-ended:
			qt.Assert(t, qt.IsNil(tracker.Close()))
			return
		default:
		}
		before := begin(t, scope)
		h.forget()
		h.send(t, 10)
		_, err := tracker.Barrier(t.Context())
		qt.Assert(t, qt.IsNil(err))
		if lost := losses(t, scope, before); len(lost) == 0 {
			seen, _ := h.sightings()
			qt.Assert(t, qt.Equals(seen["k ip_rcv"], 20), qt.Commentf("%v", seen)) // and the ICMP errors
		}
		if !said {
			said = true
			fmt.Println("\nready")
		}
	}
}

func witnessOf(child string) string { return "witness" + child }

// child is a process that was started.
type child struct {
	*exec.Cmd
	in     io.Closer
	output strings.Builder
	ready  chan bool // closed when it has ended; true when it observes
}

func startChild(t *testing.T, index int, more ...string) *child {
	t.Helper()
	c := &child{Cmd: exec.Command("/proc/self/exe", "-test.run=^TestChild$", "-test.v"), ready: make(chan bool, 1)}
	c.Env = append(os.Environ(), append(more, fmt.Sprintf("%s=%d", childEnv, index))...)
	c.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	c.Stderr = os.Stderr
	in, err := c.StdinPipe()
	qt.Assert(t, qt.IsNil(err))
	c.in = in
	out, err := c.StdoutPipe()
	qt.Assert(t, qt.IsNil(err))
	qt.Assert(t, qt.IsNil(c.Start()))
	go func() {
		defer close(c.ready)
		for lines := bufio.NewScanner(out); lines.Scan(); {
			if lines.Text() == "ready" {
				c.ready <- true
				continue
			}
			c.output.WriteString(lines.Text() + "\n")
		}
	}()
	return c
}

// objects lists what of BPF there is in the kernel.
func objects(t *testing.T) (all []string) {
	t.Helper()
	for id := ebpf.ProgramID(0); ; {
		next, err := ebpf.ProgramGetNextID(id)
		if errors.Is(err, fs.ErrNotExist) {
			break
		}
		qt.Assert(t, qt.IsNil(err))
		id = next
		all = append(all, fmt.Sprintf("program %d", id))
	}
	for id := ebpf.MapID(0); ; {
		next, err := ebpf.MapGetNextID(id)
		if errors.Is(err, fs.ErrNotExist) {
			break
		}
		qt.Assert(t, qt.IsNil(err))
		id = next
		all = append(all, fmt.Sprintf("map %d", id))
	}
	links := new(link.Iterator)
	defer links.Close()
	for links.Next() {
		all = append(all, fmt.Sprintf("link %d", links.ID))
	}
	qt.Assert(t, qt.IsNil(links.Err()))
	return all
}

// awaitGone waits until the kernel has nothing more of BPF than before, and none of the witnesses.
func awaitGone(t *testing.T, before []string, witnesses []string) {
	t.Helper()
	for deadline := time.Now().Add(2 * time.Minute); ; {
		left := slices.DeleteFunc(objects(t), func(o string) bool { return slices.Contains(before, o) })
		for _, name := range witnesses {
			if _, err := net.InterfaceByName(name); err == nil {
				left = append(left, "the namespace of "+name)
			}
		}
		if len(left) == 0 {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("%d things are left: %v", len(left), left)
		}
		qt.Assert(t, qt.IsNil(gracePeriod())) // what ends late ends by one of these
	}
}

// switchProbe counts the verdicts of nftables that the kernel would trace.
type switchProbe struct {
	host  *host
	count *ebpf.Map
}

func newSwitchProbe(t *testing.T) *switchProbe {
	t.Helper()
	h := newHost(t)
	h.loadNFT(t, observedRule)
	p := &switchProbe{host: h}
	var err error
	p.count, err = ebpf.NewMap(&ebpf.MapSpec{Type: ebpf.Array, KeySize: 4, ValueSize: 8, MaxEntries: 1})
	qt.Assert(t, qt.IsNil(err))
	t.Cleanup(func() { _ = p.count.Close() })
	program, err := ebpf.NewProgram(&ebpf.ProgramSpec{
		Type: ebpf.Tracing, AttachType: ebpf.AttachTraceFEntry, AttachTo: "__nft_trace_packet", License: "Dual BSD/GPL",
		Instructions: asm.Instructions{
			asm.LoadMapValue(asm.R1, p.count.FD(), 0),
			asm.Mov.Imm(asm.R2, 1),
			asm.AddAtomic.Mem(asm.R1, asm.R2, asm.DWord, 0),
			asm.Mov.Imm(asm.R0, 0),
			asm.Return(),
		},
	})
	qt.Assert(t, qt.IsNil(err))
	t.Cleanup(func() { _ = program.Close() })
	l, err := link.AttachTracing(link.TracingOptions{Program: program})
	qt.Assert(t, qt.IsNil(err))
	t.Cleanup(func() { _ = l.Close() })
	return p
}

// traced tells whether the kernel traces the verdict on a datagram.
func (p *switchProbe) traced(t *testing.T) bool {
	t.Helper()
	var before, after uint64
	qt.Assert(t, qt.IsNil(p.count.Lookup(uint32(0), &before)))
	qt.Assert(t, qt.IsNil(p.host.Do(func() error {
		socket, err := net.ListenPacket("udp4", "127.0.0.1:0")
		if err != nil {
			return err
		}
		defer func() { _ = socket.Close() }()
		_, err = socket.WriteTo([]byte("abc"), &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1), Port: 9})
		return err
	})))
	qt.Assert(t, qt.IsNil(p.count.Lookup(uint32(0), &after)))
	return after > before
}

// TestProcesses has trackers at work in two processes at once, and kills one of them in the middle. Nothing of theirs
// stays. Of ten, which is what there is room for (TestCrowdedFunction), an emulated kernel takes minutes to get rid.
func TestProcesses(t *testing.T) {
	const processes = 2
	sharedTracker(t) // skips where there is nothing to be observed
	probe := newSwitchProbe(t)
	qt.Assert(t, qt.IsFalse(probe.traced(t)))
	before := objects(t)

	var children []*child
	var witnesses []string
	t.Cleanup(func() {
		for _, c := range children {
			_ = c.Process.Kill() // if the test has failed
		}
	})
	for i := range processes {
		children = append(children, startChild(t, i, switchEnv+"=1"))
		witnesses = append(witnesses, witnessOf(fmt.Sprint(i)))
	}
	for i, c := range children {
		if !<-c.ready {
			t.Fatalf("process %d did not come to observe: %v\n%s", i, c.Wait(), c.output.String())
		}
	}
	for _, name := range witnesses {
		_, err := netlink.LinkByName(name) // not net's, which lists all devices, and may miss one while others come and go
		qt.Assert(t, qt.IsNil(err), qt.Commentf(name))
	}
	qt.Assert(t, qt.IsTrue(probe.traced(t)))

	var ends sync.WaitGroup
	for i, c := range children {
		if i%2 == 0 {
			qt.Assert(t, qt.IsNil(c.Process.Kill()))
		} else {
			qt.Assert(t, qt.IsNil(c.in.Close()))
		}
		ends.Go(func() {
			for range c.ready {
			}
			err := c.Wait()
			if i%2 == 0 {
				qt.Check(t, qt.ErrorMatches(err, "signal: killed"))
			} else {
				qt.Check(t, qt.IsNil(err), qt.Commentf("%s", c.output.String()))
			}
		})
	}
	ends.Wait()
	awaitGone(t, before, witnesses)
	for deadline := time.Now().Add(time.Minute); probe.traced(t); { // the ruleset goes with its namespace, a moment later
		qt.Assert(t, qt.IsTrue(time.Now().Before(deadline)), qt.Commentf("the trace switch is still on"))
	}
}

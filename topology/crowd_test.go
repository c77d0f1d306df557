package topology

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/go-quicktest/qt"
	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// A hundred labs are up side by side, equal in names, addresses and five-tuples, and each hears itself only.
// Catches: anything that labs share.
func TestHundredLabs(t *testing.T) {
	need(t, "nft")
	const labs = 100
	var warm Network
	chain(&warm, 3)
	qt.Assert(t, qt.IsNil(mustUp(t, &warm).Close())) // whatever the first run opens for good
	before := fds(t)

	faults := make([]error, labs)
	var up, sent, done sync.WaitGroup
	up.Add(labs)
	sent.Add(labs)
	for i := range labs {
		done.Go(func() {
			isUp, hasSent := sync.OnceFunc(up.Done), sync.OnceFunc(sent.Done)
			defer func() { isUp(); hasSent() }() // or the others would wait for one that failed
			faults[i] = equalLab(t, i, func() { isUp(); up.Wait() }, func() { hasSent(); sent.Wait() })
		})
	}
	done.Wait()
	qt.Check(t, qt.IsNil(errors.Join(faults...)))
	qt.Check(t, qt.DeepEquals(fds(t), before))
}

// equalLab brings a lab up that is like every other, and sends what only this lab says while all are up. It listens once all have
// sent.
func equalLab(t *testing.T, number int, isUp, hasSent func()) (err error) {
	var n Network
	nodes := chain(&n, 3)
	nodes[1].NFT = "table inet filter { chain forward { type filter hook forward priority 0; policy drop; udp dport 7777 accept; }; }"
	r, err := Up(t.Context(), &n)
	if err != nil {
		return fmt.Errorf("lab %d: %w", number, err)
	}
	defer func() { err = errors.Join(err, r.Close()) }()
	isUp()
	server := netip.AddrPortFrom(nodes[2].Addr(), 7777)
	var in, out *net.UDPConn
	err = errors.Join(
		r.Do(nodes[2], func() (err error) { in, err = net.ListenUDP("udp", net.UDPAddrFromAddrPort(server)); return err }),
		r.Do(nodes[0], func() (err error) {
			out, err = net.DialUDP("udp", &net.UDPAddr{Port: 7778}, net.UDPAddrFromAddrPort(server))
			return err
		}))
	if err != nil {
		return fmt.Errorf("lab %d: %w", number, err)
	}
	defer func() { err = errors.Join(err, in.Close(), out.Close()) }()
	want := fmt.Sprintf("said in lab %d", number)
	if _, err := out.Write([]byte(want)); err != nil {
		return fmt.Errorf("lab %d: %w", number, err)
	}
	hasSent()
	buffer := make([]byte, 64)
	if err := in.SetDeadline(time.Now().Add(30 * time.Second)); err != nil {
		return err
	}
	if length, _, err := in.ReadFromUDPAddrPort(buffer); err != nil || string(buffer[:length]) != want {
		return fmt.Errorf("lab %d heard %q: %w", number, buffer[:length], err)
	}
	if err := in.SetDeadline(time.Now()); err != nil {
		return err
	}
	if length, _, err := in.ReadFromUDPAddrPort(buffer); !errors.Is(err, os.ErrDeadlineExceeded) {
		return fmt.Errorf("lab %d also heard %q: %w", number, buffer[:length], err)
	}
	return nil
}

// buildTo names the step at which a process that builds ten nodes is to wait for its end.
const buildTo = "WAYBILL_TEST_BUILD_TO"

// Whenever the process that builds a network is killed, the kernel takes away what it had built, and the same can be built again.
// Catches: whatever holds a namespace besides that process, and names that are taken.
func TestKilledWhileBuilding(t *testing.T) {
	need(t, "nft")
	declare := func() (*Network, []*Node) {
		n := &Network{}
		nodes := chain(n, 10)
		nodes[5].NFT = "table inet filter { }"
		return n, nodes
	}
	if at := os.Getenv(buildTo); at != "" {
		n, _ := declare()
		count := 0
		_, err := up(t.Context(), n, func(name string) error {
			if name == at {
				count++
			}
			if count == 5 || count == 1 && (at == "load ruleset" || at == "start keepalives") {
				fmt.Println("waiting")
				// Waiting for input, since the runtime ends a process in which nothing else can happen.
				_, err := io.ReadAll(os.Stdin)
				return err
			}
			return nil
		})
		t.Fatalf("it did not come to %q: %v", at, err)
	}
	for _, at := range []string{
		"create namespace", "create link", "bring up links", "wait for links", "add routes", "load ruleset", "start keepalives",
	} {
		t.Run(at, func(t *testing.T) {
			killAt(t, at)
			n, nodes := declare()
			r := mustUp(t, n)
			exchange(t, r, nodes[0], nodes[9], nodes[9].Addr())
			exchange(t, r, nodes[0], nodes[9], nodes[9].Addr6())
		})
	}
}

// killAt kills a process that has built a network up to a step, and waits until all its namespaces are gone. Each gets one end
// of a veth pair, whose other end vanishes with it.
func killAt(t *testing.T, at string) {
	cmd := exec.Command("/proc/self/exe", "-test.run=^TestKilledWhileBuilding$")
	cmd.Env = append(os.Environ(), buildTo+"="+at)
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	var words bytes.Buffer
	cmd.Stderr = &words
	stdin, err := cmd.StdinPipe()
	qt.Assert(t, qt.IsNil(err))
	defer func() { _ = stdin.Close() }()
	stdout, err := cmd.StdoutPipe()
	qt.Assert(t, qt.IsNil(err))
	qt.Assert(t, qt.IsNil(cmd.Start()))
	killed := false
	defer func() {
		if !killed {
			_ = cmd.Process.Kill()
			_ = cmd.Wait()
		}
	}()
	line, err := bufio.NewReader(stdout).ReadString('\n')
	qt.Assert(t, qt.IsNil(err), qt.Commentf("%s", &words))
	qt.Assert(t, qt.Equals(line, "waiting\n"))

	var watched Network
	watcher := watched.Add(Node{Name: "watcher"})
	outer := mustUp(t, &watched)
	updates, done := make(chan netlink.LinkUpdate, 64), make(chan struct{})
	defer close(done)
	left := make(map[string]bool)
	folder := fmt.Sprintf("/proc/%d/fd/", cmd.Process.Pid)
	entries, err := os.ReadDir(folder)
	qt.Assert(t, qt.IsNil(err))
	qt.Assert(t, qt.IsNil(outer.Do(watcher, func() error {
		if err := netlink.LinkSubscribe(updates, done); err != nil {
			return err
		}
		for _, entry := range entries {
			if target, err := os.Readlink(folder + entry.Name()); err != nil || !strings.HasPrefix(target, "net:[") {
				continue
			}
			ns, err := os.Open(folder + entry.Name())
			if err != nil {
				return err
			}
			veth := &netlink.Veth{LinkAttrs: netlink.NewLinkAttrs(), PeerName: "canary", PeerNamespace: netlink.NsFd(ns.Fd())}
			veth.Name = "watch" + entry.Name()
			if err := errors.Join(netlink.LinkAdd(veth), ns.Close()); err != nil {
				return err
			}
			left[veth.Name] = true
		}
		return nil
	})))
	if at == "create namespace" {
		qt.Assert(t, qt.HasLen(left, 4))
	} else {
		qt.Assert(t, qt.HasLen(left, 10))
	}

	killed = true
	qt.Assert(t, qt.IsNil(cmd.Process.Kill()))
	_ = cmd.Wait()
	timeout := time.After(time.Minute)
	for len(left) > 0 {
		select {
		case update := <-updates:
			if update.Header.Type == unix.RTM_DELLINK {
				delete(left, update.Attrs().Name)
			}
		case <-timeout:
			t.Fatalf("namespaces still exist: %v", left)
		}
	}
}

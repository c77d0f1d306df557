package named_test

import (
	"net"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/asm"
	"github.com/go-quicktest/qt"
	"golang.org/x/sys/unix"

	"github.com/waybill-dev/waybill/internal/leak"
	"github.com/waybill-dev/waybill/topology"
	"github.com/waybill-dev/waybill/topology/named"
)

// apart is set in the process that has a mount namespace of its own.
const apart = "WAYBILL_TEST_NAMED_APART"

// inOwnRun runs the calling test again in a process with a /run of its own, and reports whether this is that process.
func inOwnRun(t *testing.T) bool {
	t.Helper()
	if os.Getenv(apart) != "" {
		qt.Assert(t, qt.IsNil(unix.Mount("none", "/run", "tmpfs", 0, "")))
		t.Cleanup(func() { qt.Check(t, qt.IsNil(unix.Unmount("/run", unix.MNT_DETACH))) })
		return true
	}
	if os.Geteuid() != 0 {
		if os.Getenv("CI") == "true" {
			t.Fatal("needs root, and CI must run this test")
		}
		t.Skip("needs root")
	}
	cmd := exec.Command("/proc/self/exe", "-test.run=^"+t.Name()+"$", "-test.v")
	cmd.Env = append(os.Environ(), apart+"=1")
	cmd.SysProcAttr = &syscall.SysProcAttr{Unshareflags: syscall.CLONE_NEWNS}
	out, err := cmd.CombinedOutput()
	t.Logf("%s", out)
	qt.Assert(t, qt.IsNil(err))
	return false
}

// ip runs ip and is what it prints.
func ip(t *testing.T, args ...string) string {
	t.Helper()
	out, err := exec.Command("ip", args...).CombinedOutput()
	qt.Assert(t, qt.IsNil(err), qt.Commentf("%s", out))
	return string(out)
}

// reaches checks that a node answers another one: that nobody listens there.
func reaches(t *testing.T, running *topology.Running, from, to *topology.Node) {
	t.Helper()
	err := running.Do(from, func() error {
		_, err := net.DialTCP("tcp", nil, net.TCPAddrFromAddrPort(netip.AddrPortFrom(to.Addr(), 9)))
		return err
	})
	qt.Check(t, qt.ErrorIs(err, error(syscall.ECONNREFUSED)))
}

func TestKeep(t *testing.T) {
	if !inOwnRun(t) {
		return
	}
	before, err := leak.Take()
	qt.Assert(t, qt.IsNil(err))
	program, err := ebpf.NewProgram(&ebpf.ProgramSpec{Type: ebpf.XDP, License: "GPL", Instructions: asm.Instructions{
		asm.Mov.Imm(asm.R0, 2), asm.Return(), // XDP_PASS
	}})
	qt.Assert(t, qt.IsNil(err))
	rules := filepath.Join(t.TempDir(), "fw.nft")
	qt.Assert(t, qt.IsNil(os.WriteFile(rules, []byte("table inet declared {\n}\n"), 0o600)))

	network := &topology.Network{}
	client := network.Add(topology.Node{Name: "client"})
	fw := network.Add(topology.Node{Name: "fw", Forwarding: true, NFT: "@" + rules})
	network.Connect(client, fw, topology.LinkOptions{First: topology.Device{XDP: topology.Program{Loaded: program}}})
	running, err := topology.Up(t.Context(), network)
	qt.Assert(t, qt.IsNil(err))
	defer func() { qt.Check(t, qt.IsNil(running.Close())) }()
	qt.Assert(t, qt.IsNil(running.LoadNFT(t.Context(), fw, "table inet changed {\n}\n")))

	lab, err := named.Keep("kept", running)
	qt.Assert(t, qt.IsNil(err))
	qt.Check(t, qt.Equals(lab.Namespace("fw"), "kept.fw"))
	_, err = named.Keep("kept", running)
	qt.Check(t, qt.ErrorMatches(err, "lab kept is up already: waybill lab down kept takes it down"))
	_, err = named.Keep("a/b", running)
	qt.Check(t, qt.ErrorMatches(err, `"a/b" is no name for a lab: .*`))

	// The process that built it lets go of everything; the file is gone too.
	qt.Assert(t, qt.IsNil(running.Close()))
	qt.Assert(t, qt.IsNil(program.Close()))
	qt.Assert(t, qt.IsNil(os.Remove(rules)))

	found, err := named.Find("")
	qt.Assert(t, qt.IsNil(err))
	qt.Check(t, qt.DeepEquals(found, named.Lab{Name: "kept", State: named.Complete, Nodes: []string{"client", "fw"}}))
	qt.Check(t, qt.StringContains(ip(t, "-n", lab.Namespace("fw"), "addr"), fw.Addr().String()))
	attached, err := found.Attach()
	qt.Assert(t, qt.IsNil(err))
	reaches(t, attached, attached.Network().Nodes()[0], attached.Network().Nodes()[1])
	qt.Assert(t, qt.IsNil(attached.Close()))
	dump, err := found.Dump(t.Context())
	qt.Assert(t, qt.IsNil(err))
	qt.Check(t, qt.StringContains(dump, "table inet declared"))
	qt.Check(t, qt.StringContains(dump, "table inet changed"))
	qt.Check(t, qt.StringContains(dump, "\n# Not in this script: Links[0].First.XDP: a program that was loaded\n"))

	qt.Assert(t, qt.IsNil(found.Down(t.Context(), named.DownOptions{})))
	left, err := filepath.Glob("/run/*/*")
	qt.Assert(t, qt.IsNil(err))
	qt.Check(t, qt.HasLen(left, 0))
	names, err := before.Left()
	qt.Assert(t, qt.IsNil(err))
	qt.Check(t, qt.HasLen(names, 0))
}

// A network that cannot get its names goes on as if nobody had asked.
func TestKeepNothing(t *testing.T) {
	if !inOwnRun(t) {
		return
	}
	network := &topology.Network{}
	a, b := network.Add(topology.Node{Name: "a"}), network.Add(topology.Node{Name: "b"})
	network.Connect(a, b)
	running, err := topology.Up(t.Context(), network)
	qt.Assert(t, qt.IsNil(err))
	defer func() { qt.Check(t, qt.IsNil(running.Close())) }()
	ip(t, "netns", "add", "kept.b")

	_, err = named.Keep("kept", running)
	qt.Check(t, qt.ErrorMatches(err, "there is a namespace kept.b already, which is no lab's: ip netns del kept.b removes it"))

	labs, err := named.List()
	qt.Assert(t, qt.IsNil(err))
	qt.Check(t, qt.HasLen(labs, 0))
	qt.Check(t, qt.Equals(strings.TrimSpace(ip(t, "netns", "list")), "kept.b"))
	reaches(t, running, a, b)
	ip(t, "netns", "del", "kept.b")
}

func TestNameFor(t *testing.T) {
	for text, want := range map[string]string{
		"TestForward/IPv6":          "TestForward-IPv6",
		"a firewall drops, at last": "a-firewall-drops-at-last",
		"--help":                    "help",
		"":                          "lab",
		"Ünïcode":                   "n-code",
		strings.Repeat("x", 99):     strings.Repeat("x", 63),
	} {
		qt.Check(t, qt.Equals(named.NameFor(text), want))
		qt.Check(t, qt.IsNil(named.CheckName(named.NameFor(text))))
	}
}

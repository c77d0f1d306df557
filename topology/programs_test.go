package topology

import (
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/asm"
	"github.com/go-quicktest/qt"
)

// verdict loads a program that answers every packet alike.
func verdict(tb testing.TB, kind ebpf.ProgramType, value int32) *ebpf.Program {
	tb.Helper()
	need(tb)
	program, err := ebpf.NewProgram(&ebpf.ProgramSpec{
		Type: kind, License: "Dual BSD/GPL",
		Instructions: asm.Instructions{asm.Mov.Imm(asm.R0, value), asm.Return()},
	})
	qt.Assert(tb, qt.IsNil(err))
	tb.Cleanup(func() { qt.Check(tb, qt.IsNil(program.Close())) })
	return program
}

func TestPrograms(t *testing.T) {
	const xdpDrop, xdpPass, tcShot, tcOK = 1, 2, 2, 0
	for name, test := range map[string]struct {
		drop, pass Device
	}{
		"XDP": {Device{XDP: Program{Loaded: verdict(t, ebpf.XDP, xdpDrop)}}, Device{XDP: Program{Loaded: verdict(t, ebpf.XDP, xdpPass)}}},
		"ingress": {Device{Ingress: Program{Loaded: verdict(t, ebpf.SchedCLS, tcShot)}},
			Device{Ingress: Program{Loaded: verdict(t, ebpf.SchedCLS, tcOK)}, Egress: Program{Loaded: verdict(t, ebpf.SchedCLS, tcOK)}}},
		"egress": {Device{Egress: Program{Loaded: verdict(t, ebpf.SchedCLS, tcShot)}}, Device{}},
	} {
		t.Run(name, func(t *testing.T) {
			for want, device := range map[string]Device{"absent": test.drop, "there": test.pass} {
				var n Network
				a, b := n.Add(Node{Name: "a"}), n.Add(Node{Name: "b"})
				n.Connect(a, b, LinkOptions{Second: device})
				r := tryUp(t, &n)
				if want == "there" {
					exchange(t, r, a, b, b.Addr())
				} else {
					absent(t, r, a, b, b.Addr())
				}
			}
		})
	}
}

//go:generate clang -O2 -target bpf -c testdata/programs.bpf.c -o testdata/programs.o

func TestProgramsOfAFile(t *testing.T) {
	const file = "testdata/programs.o"
	if _, err := os.Stat(file); err != nil {
		t.Skip(err) // in the VM
	}
	for name, device := range map[string]Device{
		"XDP": {XDP: Program{File: file, Name: "drop"}}, "ingress": {Ingress: Program{File: file, Name: "shot"}},
	} {
		t.Run(name, func(t *testing.T) {
			var n Network
			a, b := n.Add(Node{Name: "a"}), n.Add(Node{Name: "b"})
			n.Connect(a, b, LinkOptions{Second: device})
			r := tryUp(t, &n)
			absent(t, r, a, b, b.Addr())
		})
	}
	for _, test := range []struct {
		program Program
		want    string
	}{
		{Program{File: file}, `testdata/programs.o has several programs, ["drop" "shot"]: give the Name of one`},
		{Program{File: file, Name: "dropp"}, `testdata/programs.o has no program "dropp"; did you mean "drop"?`},
		{Program{File: file, Name: "shot"}, "the program is of type SchedCLS: XDP is needed"},
	} {
		err := test.program.check(ebpf.XDP)
		qt.Assert(t, qt.IsNotNil(err))
		qt.Check(t, qt.Equals(err.Error(), test.want))
	}
}

func TestProgramOfTheWrongType(t *testing.T) {
	var n Network
	a, b := n.Add(Node{Name: "a"}), n.Add(Node{Name: "b"})
	n.Connect(a, b, LinkOptions{First: Device{XDP: Program{Loaded: verdict(t, ebpf.SchedCLS, 0)}}})
	qt.Check(t, qt.ErrorMatches(n.Validate(), `Links\[0\].First.XDP: the program is of type SchedCLS: XDP is needed`))
}

// A copy of what arrives at eth0 of the router leaves by eth2.
func TestTCMirrors(t *testing.T) {
	need(t, "tc")
	var n Network
	nodes := chain(&n, 3)
	monitor := n.Add(Node{Name: "monitor"})
	n.Connect(nodes[1], monitor)
	nodes[1].TC = "qdisc add dev eth0 clsact\n" +
		"filter add dev eth0 ingress matchall action mirred egress mirror dev eth2"
	r := tryUp(t, &n)
	before, err := r.Device(monitor, "eth0")
	qt.Assert(t, qt.IsNil(err))
	exchange(t, r, nodes[0], nodes[2], nodes[2].Addr())
	after, err := r.Device(monitor, "eth0")
	qt.Assert(t, qt.IsNil(err))
	qt.Check(t, qt.IsTrue(after.Counters.RxPackets > before.Counters.RxPackets))
}

func TestTCErrors(t *testing.T) {
	need(t, "tc")
	var n Network
	n.Add(Node{Name: "a", TC: "qdisc show dev lo\nqdisc add dev lo root pfifo nonsense"})
	_, err := Up(t.Context(), &n)
	refused := (*ToolError)(nil)
	qt.Assert(t, qt.ErrorAs(err, &refused))
	qt.Check(t, qt.Equals(refused.Line, 2))
	qt.Check(t, qt.Equals(refused.Text, "qdisc add dev lo root pfifo nonsense"))
	qt.Check(t, qt.Equals(refused.Tool, "tc"))
}

func TestIPTables(t *testing.T) {
	if _, err := exec.LookPath("iptables-restore"); err != nil {
		t.Skip("needs iptables-restore") // no part of what every machine of CI has
	}
	need(t)
	var n Network
	a, b := n.Add(Node{Name: "a"}), n.Add(Node{Name: "b"})
	n.Connect(a, b)
	b.IPTables = "*filter\n:INPUT DROP [0:0]\n-A INPUT -i lo -j ACCEPT\nCOMMIT"
	r := tryUp(t, &n)
	absent(t, r, a, b, b.Addr())
	exchange(t, r, a, b, b.Addr6())
	qt.Assert(t, qt.IsNil(r.Close()))

	b.IPTables = "*filter\n-A INPUT -p nonsense -j ACCEPT\nCOMMIT"
	_, err := Up(t.Context(), &n)
	refused := (*ToolError)(nil)
	qt.Assert(t, qt.ErrorAs(err, &refused))
	qt.Check(t, qt.Equals(refused.Line, 2), qt.Commentf("%v", err))
}

func TestToolErrors(t *testing.T) {
	for _, test := range []struct{ output, want string }{
		{"iptables-restore v1.8.9 (nf_tables): unknown protocol \"x\" specified\nError occurred at line: 2\nTry more.\n",
			`iptables-restore refuses line 2, "two": iptables-restore v1.8.9 (nf_tables): unknown protocol "x" specified; Error occurred at line: 2; Try more.`},
		{"iptables-restore: line 1 failed\n", `iptables-restore refuses line 1, "one": iptables-restore: line 1 failed`},
		{"no\n", "iptables-restore refuses the text: no"},
		{"line 9 failed", "iptables-restore refuses the text: line 9 failed"},
	} {
		qt.Check(t, qt.Equals(newToolError("iptables-restore", "one\ntwo\n", test.output).Error(), test.want))
	}
	var n Network
	n.Add(Node{Name: "a"})
	r := mustUp(t, &n)
	err := runTool(t.Context(), r.nodes[n.nodes[0]].ns, "x", "no-such-program")
	qt.Check(t, qt.ErrorMatches(err, "the program no-such-program was not found: install the package no-such-program"))
}

func TestToolsThatAreMissing(t *testing.T) {
	t.Setenv("PATH", t.TempDir())
	for _, test := range []struct{ tool, want string }{
		{"nft", "the program nft was not found: install the package nftables"},
		{"tc", "the program tc was not found: install the package iproute2"},
		{"iptables-restore", "the program iptables-restore was not found: install the package iptables"},
		{"ip6tables-restore", "the program ip6tables-restore was not found: install the package iptables"},
		{"ebtables-restore", "the program ebtables-restore was not found: install the package ebtables"},
	} {
		_, err := findTool(test.tool, nil)
		qt.Assert(t, qt.IsNotNil(err))
		qt.Check(t, qt.Equals(err.Error(), test.want))
	}
}

func TestEBTables(t *testing.T) {
	if _, err := exec.LookPath("ebtables-restore"); err != nil {
		t.Skip("needs ebtables-restore") // no part of what every machine of CI has
	}
	var n Network
	sw, hosts := star(&n, Bridge{}, Port{}, Port{}, Port{})
	sw.EBTables = "*filter\n:FORWARD ACCEPT\n-A FORWARD -i eth0 -o eth1 -j DROP\n"
	r := tryUp(t, &n)
	absent(t, r, hosts[0], hosts[1], hosts[1].Addr())
	exchange(t, r, hosts[0], hosts[2], hosts[2].Addr())
	qt.Assert(t, qt.IsNil(r.Close()))

	sw.EBTables = "*filter\n-A FORWARD -j NONSENSE\n"
	_, err := Up(t.Context(), &n)
	refused := (*ToolError)(nil)
	qt.Assert(t, qt.ErrorAs(err, &refused), qt.Commentf("%v", err))
	qt.Check(t, qt.Equals(refused.Tool, "ebtables-restore"))
}

// A text may be in a file. An error names it, and one that is not there is found before the kernel is touched.
func TestTextsInFiles(t *testing.T) {
	need(t, "nft", "tc")
	folder := t.TempDir()
	write := func(name, text string) string {
		path := filepath.Join(folder, name)
		qt.Assert(t, qt.IsNil(os.WriteFile(path, []byte(text), 0o600)))
		return "@" + path
	}
	var n Network
	a, b := n.Add(Node{Name: "a"}), n.Add(Node{Name: "b"})
	n.Connect(a, b)
	b.NFT = write("good.nft", "table inet f { chain c { type filter hook input priority 0; ip saddr 172.16.42.1 drop; }; }")
	r := mustUp(t, &n)
	absent(t, r, a, b, b.Addr())
	exchange(t, r, a, b, b.Addr6())
	qt.Assert(t, qt.IsNil(r.Close()))

	b.NFT = write("bad.nft", "table inet f {\nfoo\n}\n")
	_, err := Up(t.Context(), &n)
	qt.Check(t, qt.ErrorMatches(err, `bring up network: node b: nft refuses line 2 of .*/bad.nft, "foo": syntax error.*`))
	b.NFT, b.TC = "", write("bad.tc", "qdisc add dev eth0 root nonsense")
	_, err = Up(t.Context(), &n)
	qt.Check(t, qt.ErrorMatches(err, `bring up network: node b: .*tc refuses line 1 of .*/bad.tc, "qdisc add dev eth0 root nonsense": .*`))

	b.NFT, b.TC, b.IPTables, b.EBTables = "@/nowhere.nft", "@/nowhere.tc", "@/nowhere.ipt", "@/nowhere.ebt"
	err = n.Validate()
	qt.Assert(t, qt.IsNotNil(err))
	qt.Check(t, qt.Equals(err.Error(), "Nodes[1].NFT: read the text: open /nowhere.nft: no such file or directory\n"+
		"Nodes[1].TC: read the text: open /nowhere.tc: no such file or directory\n"+
		"Nodes[1].IPTables: read the text: open /nowhere.ipt: no such file or directory\n"+
		"Nodes[1].EBTables: read the text: open /nowhere.ebt: no such file or directory"))
}

func TestSysctlThatDoesNotExist(t *testing.T) {
	need(t)
	var n Network
	n.Add(Node{Name: "a", Sysctls: map[string]string{"net.ipv4.no_such_thing": "1"}})
	_, err := Up(t.Context(), &n)
	missing := (*UnsupportedError)(nil)
	qt.Assert(t, qt.ErrorAs(err, &missing))
	qt.Check(t, qt.Equals(missing.Feature, "setting net.ipv4.no_such_thing"))
}

func TestConnections(t *testing.T) {
	need(t, "nft")
	var n Network
	nodes := chain(&n, 3)
	nodes[1].NFT = "table inet f { chain c { type filter hook forward priority 0; ct state new accept; }; }"
	r := tryUp(t, &n)
	exchange(t, r, nodes[0], nodes[2], nodes[2].Addr())
	connections, err := r.Connections(nodes[1])
	if missing := (*UnsupportedError)(nil); errors.As(err, &missing) {
		t.Skip(missing)
	}
	qt.Assert(t, qt.IsNil(err))
	qt.Assert(t, qt.HasLen(connections, 1))
	qt.Check(t, qt.Equals(connections[0].Proto, 17))
	qt.Check(t, qt.Equals(connections[0].Original.Dst.Addr(), nodes[2].Addr()))
	qt.Check(t, qt.Equals(connections[0].Reply.Dst, connections[0].Original.Src))
}

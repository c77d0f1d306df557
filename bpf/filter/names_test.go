package filter

import (
	"slices"
	"testing"

	"github.com/go-quicktest/qt"
)

// TestBuiltinNames holds the tables that stand in for files to the files, where they are. Whether a port is one of TCP, UDP
// or both is another matter in each distribution.
func TestBuiltinNames(t *testing.T) {
	compared := 0
	for name, want := range builtinServices {
		got, _ := serviceInFile(name)
		for _, ports := range [][2]uint16{{got.tcp, want.tcp}, {got.udp, want.udp}} {
			if ports[0] != 0 && ports[1] != 0 {
				qt.Check(t, qt.Equals(ports[1], ports[0]), qt.Commentf("%s in %s", name, servicesFile))
				compared++
			}
		}
	}
	for name, want := range builtinProtocols {
		if got, ok := protocolInFile(name); ok {
			qt.Check(t, qt.Equals(got, want), qt.Commentf("%s in %s", name, protocolsFile))
			compared++
		}
	}
	t.Logf("%d names compared", compared)
}

// TestNames: what a name stands for, and in which protocols a port is looked for, whether a file tells it or a table. The
// names are such that all files agree.
func TestNames(t *testing.T) {
	for name, number := range map[string]string{
		"port domain": "port 53", "tcp port ssh": "tcp port 22", `udp port \geneve`: "udp port 6081",
		"port vxlan": "udp port 4789", "portrange ftp-data-21": "",
		"portrange domain-vxlan": "portrange 53-4789", `port \domain`: "port 53",
		"ip proto ospf": "ip proto 89", `ip proto \tcp`: "ip proto 6",
		"proto l2tp": "proto 115", "ether proto loopback": "ether proto 0x9000",
	} {
		got, err := parse(name)
		if number == "" {
			qt.Check(t, qt.IsNotNil(err), qt.Commentf("%s: %v", name, got))
			continue
		}
		qt.Assert(t, qt.IsNil(err), qt.Commentf("%s", name))
		a, _, err := lowerTree(got, Ethernet, false)
		qt.Assert(t, qt.IsNil(err))
		want, err := parse(number)
		qt.Assert(t, qt.IsNil(err))
		b, _, err := lowerTree(want, Ethernet, false)
		qt.Assert(t, qt.IsNil(err))
		qt.Check(t, qt.IsTrue(slices.Equal(a.flat(), b.flat())), qt.Commentf("%s is not %s", name, number))
	}
}

// flat is all that a program does, without where it goes.
func (p *program) flat() (code []instruction) {
	for _, b := range p.order() {
		code = append(append(code, b.code...), instruction{value: b.test.value})
	}
	return code
}

package filter

import (
	"fmt"
	"math/rand/v2"
	"os"
	"strings"
	"testing"
)

// expressions are those that were written by hand.
func expressions(tb testing.TB) []string {
	content, err := os.ReadFile("testdata/expressions.txt")
	if err != nil {
		tb.Fatal(err)
	}
	var lines []string
	for line := range strings.Lines(string(content)) {
		if line = strings.TrimSpace(line); line != "" && line[0] != '#' {
			lines = append(lines, line)
		}
	}
	return lines
}

// expressionMaker makes expressions by the grammar, the same ones for the same seed.
type expressionMaker struct{ packetMaker }

func newExpressionMaker(seed uint64) expressionMaker {
	return expressionMaker{packetMaker{rand.New(rand.NewPCG(seed, 11))}}
}

func (m expressionMaker) expressions(n int) []string {
	all := make([]string, n)
	for i := range all {
		all[i] = m.condition(1 + m.IntN(3))
	}
	return all
}

// one calls one of several makers.
func (m expressionMaker) one(makers ...func() string) string { return makers[m.IntN(len(makers))]() }

func (m expressionMaker) condition(depth int) string {
	if depth == 0 {
		return m.primitive()
	}
	left, right := m.condition(depth-1), m.condition(depth-1)
	switch m.IntN(7) {
	case 0:
		return pick(m.packetMaker, "not ", "! ") + "(" + left + ")"
	case 1:
		return "(" + left + ") " + m.joint() + " " + right
	case 2:
		return left + " " + m.joint() + " (" + right + ")"
	case 3:
		return m.qualified(true)
	}
	return left + " " + m.joint() + " " + right
}

func (m expressionMaker) joint() string { return pick(m.packetMaker, "and", "or", "&&", "||") }

func (m expressionMaker) primitive() string {
	return m.one(
		func() string { return m.qualified(false) },
		func() string { return m.qualified(false) },
		func() string {
			return pick(m.packetMaker, "ip", "ip6", "arp", "rarp", "tcp", "udp", "sctp", "icmp", "icmp6", "igmp", "esp", "ah", "pim",
				"stp", "ipx", "iso", "atalk", "llc", "llc u", "isis", "l1")
		},
		func() string { return "not " + m.primitive() },
		func() string {
			return pick(m.packetMaker, "broadcast", "multicast", "ether multicast", "ip multicast", "ip6 multicast", "ip broadcast")
		},
		func() string { return fmt.Sprintf("%s %d", pick(m.packetMaker, "less", "greater"), m.IntN(200)) },
		m.tunnel,
		m.relation,
		m.relation,
	)
}

func (m expressionMaker) tunnel() string {
	return m.one(
		func() string { return "vlan" },
		func() string { return fmt.Sprintf("vlan %d", pick(m.packetMaker, vlans...)) },
		func() string { return "mpls" },
		func() string { return fmt.Sprintf("mpls %d", pick(m.packetMaker, labels...)) },
		func() string { return "pppoes" },
		func() string { return "geneve" },
	)
}

// qualified are a name or a list of them, with qualifiers.
func (m expressionMaker) qualified(list bool) string {
	dir := pick(m.packetMaker, "", "", "src ", "dst ", "src or dst ", "src and dst ", "dst or src ")
	switch m.IntN(7) {
	case 0:
		return pick(m.packetMaker, "", "ip ", "arp ") + dir + "host " +
			m.list(list, func() string { return pick(m.packetMaker, hosts4...) })
	case 1:
		return pick(m.packetMaker, "", "ip6 ") + dir + "host " +
			m.list(list, func() string { return pick(m.packetMaker, hosts6...) })
	case 2:
		return dir + "net " + m.list(list, func() string {
			return pick(m.packetMaker, "10", "10.0", "192.168.1", "10.0.0.0/8", "192.168.0.0/17", "0.0.0.0/0", "fd00::/8",
				"fd00::/31", "ff00::/9", "172.16.0.0/12", "fd00:1:2:3::/64")
		})
	case 3:
		return pick(m.packetMaker, "", "tcp ", "udp ", "sctp ") + dir + "port " +
			m.list(list, func() string { return fmt.Sprint(pick(m.packetMaker, ports...)) })
	case 4:
		return pick(m.packetMaker, "", "tcp ", "udp ") + dir + "portrange " + m.list(list, func() string {
			return fmt.Sprintf("%d-%d", pick(m.packetMaker, ports...), pick(m.packetMaker, ports...))
		})
	case 5:
		return "ether " + pick(m.packetMaker, "host ", "src ", "dst ") +
			m.list(list, func() string { return pick(m.packetMaker, macs...) })
	}
	return m.one(
		func() string { return "ip proto " }, func() string { return "ip6 proto " }, func() string { return "proto " },
	) + m.list(list, func() string { return fmt.Sprint(pick(m.packetMaker, 0, 1, 6, 17, 44, 58, 89, 132)) })
}

func (m expressionMaker) list(list bool, one func() string) string {
	if !list {
		return one()
	}
	return pick(m.packetMaker, "", "not ") + "(" + one() + " " + pick(m.packetMaker, "or", "and") + " " +
		pick(m.packetMaker, "", "not ") + one() + ")"
}

func (m expressionMaker) relation() string {
	return m.number(m.IntN(3)) + " " + pick(m.packetMaker, "=", "==", "!=", "<", "<=", ">", ">=") + " " + m.number(m.IntN(2))
}

func (m expressionMaker) number(depth int) string {
	if depth == 0 {
		return m.one(
			func() string {
				return fmt.Sprint(pick(m.packetMaker, 0, 1, 2, 4, 5, 6, 17, 20, 60, 64, 128, 255, 1500, 65535))
			},
			func() string {
				return fmt.Sprintf("%#x", pick(m.packetMaker, uint32(0x45), 0x800, 0xa000001, 0x80000000, 0xffffffff))
			},
			func() string { return "len" },
			func() string { return m.access(fmt.Sprint(m.IntN(44))) },
			func() string { return m.access(fmt.Sprint(m.IntN(20))) },
		)
	}
	left, right := m.number(depth-1), m.number(depth-1)
	switch m.IntN(8) {
	case 0:
		return "- " + left
	case 1:
		return "(" + left + " " + m.operator() + " " + right + ")"
	case 2:
		return m.access(left + " & 0x3f")
	}
	return left + " " + m.operator() + " " + right
}

func (m expressionMaker) operator() string {
	return pick(m.packetMaker, "+", "-", "*", "/", "%", "&", "|", "^", "<<", ">>")
}

func (m expressionMaker) access(index string) string {
	return pick(m.packetMaker, "ether", "ip", "ip", "ip6", "arp", "tcp", "tcp", "udp", "icmp", "icmp6", "sctp") +
		"[" + index + pick(m.packetMaker, "", "", ":1", ":2", ":4") + "]"
}

// classic is a program of classic BPF as text, of instructions that come one after the other without any sense.
func (m expressionMaker) classic() string {
	n := 4 + m.IntN(20)
	lines := []string{fmt.Sprint(n)}
	for i := range n {
		left := n - i - 2 // that a jump can skip
		k := pick(m.packetMaker, 0, 1, 2, 4, 8, 12, 14, 20, 23, 60, 100, 126, 127, 128, 300, 0x7fffffff, 0xffffff00)
		var op, yes, no int
		switch {
		case i == n-1:
			op = pick(m.packetMaker, 0x06, 0x16)
		case left > 0 && m.IntN(4) == 0:
			op = pick(m.packetMaker, 0x15, 0x1d, 0x25, 0x2d, 0x35, 0x3d, 0x45, 0x4d)
			yes, no = m.IntN(min(left, 6)+1), m.IntN(min(left, 6)+1)
		default:
			op = pick(m.packetMaker, 0x20, 0x28, 0x30, 0x40, 0x48, 0x50, 0xb1, 0xb1, 0x00, 0x01, 0x80, 0x81, 0x60, 0x61, 0x02, 0x03,
				0x04, 0x0c, 0x14, 0x1c, 0x24, 0x2c, 0x34, 0x3c, 0x44, 0x4c, 0x54, 0x5c, 0x64, 0x6c, 0x74, 0x7c, 0x94, 0x9c, 0xa4, 0xac,
				0x07, 0x87, 0x07, 0x87)
		}
		switch op {
		case 0x20, 0x28, 0x30:
			k &= 0x7fffffff // above is what is not in packets
		case 0x60, 0x61, 0x02, 0x03:
			k %= 3 // few words, so that what is kept is used
		case 0x64, 0x74:
			k %= 32
		case 0x34, 0x94:
			k |= 1
		}
		lines = append(lines, fmt.Sprintf("%d %d %d %d", op, yes, no, k))
	}
	return strings.Join(lines, "\n")
}

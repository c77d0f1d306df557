package journey

import (
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"math"
	"net/netip"
	"strings"

	"github.com/gopacket/gopacket/layers"
)

// Text is the journey's events, in the line format that users of Retis read: the first event at the margin, later
// ones below an arrow, the sections of each below it. [Format] has other forms.
func (j *Journey) Text() string { return Format{}.Journey(j) }

// String is the journey's text, its outcome in one sentence below it, and its [Journey.Lineage].
func (j *Journey) String() string {
	text := j.Text() + j.Sentence() + "\n"
	for _, line := range j.Lineage() {
		text += "  " + line + "\n"
	}
	return text
}

// GomegaString is how gomega shows the journey, often among many others: its [Journey.Summary].
func (j *Journey) GomegaString() string { return j.Summary() }

// CopyNote tells the events of copies apart, if the journey has any: it says which copy an event, given by its index,
// belongs to, and is empty for an event of the packet's own way.
func (j *Journey) CopyNote(event int) string {
	return j.copyNote(event, j.BranchOf(event))
}

func (j *Journey) copyNote(event, branch int) string {
	if branch < 0 || len(j.Branches) == 1 {
		return ""
	}
	switch b := &j.Branches[branch]; {
	case b.Role == Main, b.Role == Clone && b.Parent < 0, b.Role == TakenByTap && event < b.takenAt:
		return ""
	case b.Role == Clone:
		return fmt.Sprintf("clone of skb %x", j.Branches[b.Parent].SKB)
	default:
		return string(b.Role)
	}
}

// Text is the event alone: a line for the probe, and those of its sections below it.
func (e *Event) Text() string { return Format{}.Event(e) }

// sections are the lines below the header. Each line is of one section; a packet may have several.
func (e *Event) sections(earlier *described) []string {
	var lines []string
	for _, f := range e.Stack {
		lines = append(lines, "  "+f.String())
	}
	if e.Return != nil {
		lines = append(lines, "returned "+e.Returned())
	}
	if e.Drop != nil {
		lines = append(lines, e.Drop.line())
	}
	if e.Packet != nil {
		lines = append(lines, earlier.packetLines(e.Packet)...)
	}
	if line := e.position(); line != "" {
		lines = append(lines, line)
	}
	lines = append(lines, e.buffer()...)
	if e.Conntrack != nil {
		lines = append(lines, earlier.conntrackLine(e.Conntrack))
	}
	if e.IPTables != nil {
		lines = append(lines, e.IPTables.String())
	}
	if e.NFT != nil {
		lines = append(lines, e.NFT.line())
	}
	return lines
}

// Returned is what the function returned, in words: a number, or in hex what is too low for an int and can only be an
// address; empty at any probe but a return.
func (e *Event) Returned() string {
	switch {
	case e.Return == nil:
		return ""
	case *e.Return < math.MinInt32:
		return fmt.Sprintf("%#x", uint64(*e.Return))
	}
	return fmt.Sprint(*e.Return)
}

// buffer is the lines about the skb itself; one with nothing in it is left out.
func (e *Event) buffer() []string {
	var lines []string
	if e.Meta != nil && *e.Meta != (Meta{}) {
		lines = append(lines, e.Meta.String())
	}
	if e.Sharing != nil && *e.Sharing != (Sharing{}) {
		lines = append(lines, e.Sharing.String())
	}
	if e.GSO != nil && *e.GSO != (GSO{}) {
		lines = append(lines, e.GSO.String())
	}
	return lines
}

func (d *Drop) line() string {
	if d.Subsystem != "" {
		return fmt.Sprintf("drop (reason %s/%s)", d.Subsystem, d.Reason)
	}
	return fmt.Sprintf("drop (reason %s)", d.Reason)
}

// position is the line of namespace, device and socket.
func (e *Event) position() string {
	var parts []string
	if e.NetNS != nil {
		parts = append(parts, fmt.Sprintf("ns %#x/%d", e.NetNS.Cookie, e.NetNS.Inum))
	}
	if d := e.Device; d != nil {
		if d.Index != 0 || d.Name != "" {
			parts = append(parts, fmt.Sprintf("if %d (%s)", d.Index, d.Name))
		}
		if d.RxIndex != 0 {
			parts = append(parts, fmt.Sprintf("rxif %d", d.RxIndex))
		}
	}
	if e.SocketCookie != 0 {
		parts = append(parts, fmt.Sprintf("socket %#x", e.SocketCookie))
	}
	return strings.Join(parts, " ")
}

// String is the entry in one line.
func (c *Conntrack) String() string {
	if c.State == "UNTRACKED" {
		return "ct_state UNTRACKED"
	}
	proto := conntrackProtocol(c.Proto)
	if c.ProtoState != "" {
		proto += " (" + c.ProtoState + ")"
	}
	line := fmt.Sprintf("ct_state %s status %#x %s orig [%s] reply [%s] zone %d mark %d", c.State, c.Status, proto,
		c.Orig.text(c.Proto), c.Reply.text(c.Proto), c.Zone, c.Mark)
	if labels := c.labels(); labels != "" {
		line += " labels " + labels
	}
	return line
}

// labels are the bits as one number in hex, label 0 the lowest; empty if none is set. The kernel keeps them in words
// of its own order of bytes (unsigned long, DECLARE_BITMAP).
func (c *Conntrack) labels() string {
	var number [16]byte
	binary.BigEndian.PutUint64(number[8:], binary.NativeEndian.Uint64(c.Labels[:8]))
	binary.BigEndian.PutUint64(number[:8], binary.NativeEndian.Uint64(c.Labels[8:]))
	digits := strings.TrimLeft(hex.EncodeToString(number[:]), "0")
	if digits == "" {
		return ""
	}
	return "0x" + digits
}

func conntrackProtocol(proto uint8) string {
	name := protocolName(layers.IPProtocol(proto))
	if strings.HasPrefix(name, "protocol ") {
		return fmt.Sprintf("proto %d", proto)
	}
	return strings.ToLower(name)
}

func (t Tuple) text(proto uint8) string {
	switch layers.IPProtocol(proto) {
	case layers.IPProtocolTCP, layers.IPProtocolUDP, layers.IPProtocolSCTP, layers.IPProtocolUDPLite,
		layers.IPProtocol(33): // DCCP
		return fmt.Sprintf("%s.%d > %s.%d", address(t.Src), t.SrcPort, address(t.Dst), t.DstPort)
	case layers.IPProtocolICMPv4, layers.IPProtocolICMPv6:
		return fmt.Sprintf("%s > %s type %d code %d id %d", address(t.Src), address(t.Dst), t.DstPort>>8,
			t.DstPort&0xff, t.SrcPort)
	}
	return fmt.Sprintf("%s > %s", address(t.Src), address(t.Dst))
}

func address(a netip.Addr) string {
	if !a.IsValid() {
		return "?"
	}
	return a.String()
}

// line is the verdict in the text of a journey.
func (n *NFT) line() string {
	var b strings.Builder
	fmt.Fprintf(&b, "table %s (%d) chain %s (%d)", n.Table, n.TableHandle, n.Chain, n.ChainHandle)
	if n.Rule != 0 {
		fmt.Fprintf(&b, " handle %d", n.Rule)
	}
	b.WriteString(" " + n.Verdict)
	if n.Policy {
		b.WriteString(" (policy)")
	}
	if n.Target != "" {
		b.WriteString(" chain " + n.Target)
	}
	return b.String()
}

// String is the verdict in one line.
func (i *IPTables) String() string {
	command := "iptables"
	if i.Family == "ip6" {
		command = "ip6tables"
	}
	return fmt.Sprintf("%s table %s hook %s %s", command, i.Table, i.Hook, i.Verdict)
}

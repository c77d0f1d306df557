package journey

import (
	"encoding/binary"
	"fmt"
	"math/bits"
	"strings"
)

// words is a list of words that are left out if there is nothing to say.
type words []string

func (w *words) add(format string, args ...any) { *w = append(*w, fmt.Sprintf(format, args...)) }

// number adds a name and a number that is not zero.
func (w *words) number(name string, n uint64) {
	if n != 0 {
		w.add("%s %d", name, n)
	}
}

func (w *words) hex(name string, n uint64) {
	if n != 0 {
		w.add("%s %#x", name, n)
	}
}

func (w *words) flag(name string, set bool) {
	if set {
		*w = append(*w, name)
	}
}

func (w words) in(name string) string { return name + " [" + strings.Join(w, " ") + "]" }

// String is the metadata in one line; what is zero is left out.
func (m *Meta) String() string {
	var w words
	w.number("len", uint64(m.Len))
	w.number("data_len", uint64(m.DataLen))
	if m.PktType != 0 {
		w.add("pkt_type %s", m.PktTypeName())
	}
	if m.IPSummed != 0 {
		w.add("csum %s", m.checksum())
	}
	if m.Hash != 0 {
		w.add("hash %#x%s", m.Hash, m.hashKind())
	}
	w.hex("mark", uint64(m.Mark))
	w.number("priority", uint64(m.Priority))
	w.number("queue", uint64(m.QueueMapping))
	w.number("tstamp", m.Tstamp)
	return w.in("skb")
}

func (m *Meta) hashKind() string {
	var w words
	w.flag("l4", m.L4Hash)
	w.flag("sw", m.SWHash)
	if w == nil {
		return ""
	}
	return " (" + strings.Join(w, " ") + ")"
}

func (m *Meta) checksum() string {
	switch name := m.IPSummedName(); name {
	case "unnecessary":
		if m.CSumLevel != 0 {
			return fmt.Sprintf("%s (level %d)", name, m.CSumLevel)
		}
		return name
	case "complete":
		return fmt.Sprintf("%s (%#x)", name, m.CSum)
	case "partial":
		// csum_start, counted from skb->head, and csum_offset share a union with csum.
		halves := binary.NativeEndian.AppendUint32(nil, m.CSum)
		return fmt.Sprintf("%s (start %d off %d)", name, binary.NativeEndian.Uint16(halves),
			binary.NativeEndian.Uint16(halves[2:]))
	default:
		return name
	}
}

// IPSummedName names IPSummed: none, unnecessary, complete or partial.
func (m *Meta) IPSummedName() string {
	return stateName(m.IPSummed, "none", "unnecessary", "complete", "partial")
}

// PktTypeName names PktType: host, broadcast, multicast, otherhost, outgoing, loopback, user or kernel.
func (m *Meta) PktTypeName() string {
	return stateName(m.PktType, "host", "broadcast", "multicast", "otherhost", "outgoing", "loopback", "user", "kernel")
}

// String is the sharing in one line; what is zero is left out.
func (s *Sharing) String() string {
	var w words
	w.number("users", uint64(s.Users))
	w.number("dataref", uint64(s.DataRef))
	w.flag("cloned", s.Cloned)
	w.flag("nohdr", s.NoHdr)
	if s.FClone != 0 {
		w.add("fclone %s", s.FCloneName())
	}
	return w.in("refs")
}

// FCloneName names FClone: unavailable, orig (an skb that has room for a clone beside it) or clone (such a clone).
func (s *Sharing) FCloneName() string { return stateName(s.FClone, "unavailable", "orig", "clone") }

// String is the segmentation in one line; what is zero is left out.
func (g *GSO) String() string {
	var w words
	w.number("size", uint64(g.Size))
	w.number("segs", uint64(g.Segs))
	if g.Type != 0 {
		w.add("type %s", g.TypeNames())
	}
	w.number("frags", uint64(g.Frags))
	return w.in("gso")
}

// gsoTypes are the bits of gso_type in the order of their numbers (include/linux/skbuff.h). The lower twenty are the
// same on all kernels from 6.1 to 7.3. In 6.18 the meaning of tcp_fixedid moved to the two highest.
var gsoTypes = [32]string{
	"tcpv4", "dodgy", "tcp_ecn", "tcp_fixedid", "tcpv6", "fcoe", "gre", "gre_csum", "ipxip4", "ipxip6", "udp_tunnel",
	"udp_tunnel_csum", "partial", "tunnel_remcsum", "sctp", "esp", "udp", "udp_l4", "fraglist", "tcp_accecn",
	30: "tcp_fixedid", 31: "tcp_fixedid_inner",
}

// TypeNames names the bits of Type, joined by "|"; a bit without a name is a number.
func (g *GSO) TypeNames() string {
	var names []string
	for rest := g.Type; rest != 0; rest &= rest - 1 {
		name := gsoTypes[bits.TrailingZeros32(rest)]
		if name == "" {
			name = fmt.Sprintf("%#x", rest&-rest)
		}
		names = append(names, name)
	}
	return strings.Join(names, "|")
}

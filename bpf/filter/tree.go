package filter

// The syntax tree: what an expression says, with names resolved and qualifiers completed, before it is known where the headers
// are that it speaks of.

// node is an expression that is true or false of a packet.
type node interface {
	// lower translates the node for packets that begin as l says, and moves l on to the headers behind those that it has looked
	// for: what stands to the right in the expression is about them.
	lower(l *layout) (cond, error)
}

type (
	andNode struct{ left, right node }
	orNode  struct{ left, right node }
	notNode struct{ operand node }

	// protocolNode is a packet of a protocol.
	protocolNode struct {
		span
		protocol
	}
	// numberNode is a packet of a protocol that is given by its number, within another: "ip", "ip6", "iso", "isis", "ether", or
	// "", IP of both versions.
	numberNode struct {
		span
		within string
		value  uint32
	}
	// address4Node is a packet from or to a host or a net, in packets of "ip", "arp", "rarp" or, if it is "", any of these.
	address4Node struct {
		span
		within        string
		dir           direction
		address, mask uint32
	}
	address6Node struct {
		dir           direction
		address, mask [4]uint32
	}
	hardwareNode struct {
		span
		dir     direction
		address [6]byte
	}
	// portNode is a packet from or to a port between two, of any of some protocols.
	portNode struct {
		dir       direction
		protocols []uint32
		low, high uint32
		ranged    bool
	}
	// broadcastNode and multicastNode are about addresses of "ip", "ip6" (multicast only) or "ether".
	broadcastNode struct {
		span
		of string
	}
	multicastNode struct {
		span
		of string
	}
	// lengthNode is a packet of at least or at most so many bytes.
	lengthNode struct {
		least bool
		value uint32
	}
	// llcNode is a frame with a header of 802.2, whose control byte has a value under a mask.
	llcNode struct {
		span
		mask, value uint32
	}
	// Tags, labels and tunnels; id is -1 if it may be any.
	vlanNode struct {
		span
		id int64
	}
	mplsNode struct {
		span
		label int64
	}
	pppoeDiscoveryNode struct{ span }
	pppoeNode          struct {
		span
		session int64
	}
	geneveNode struct {
		span
		vni int64
	}
	// relationNode compares two numbers, without signs.
	relationNode struct {
		span
		comparison  comparison
		opposite    bool
		left, right number32
	}
)

// direction says which of two addresses or ports is meant.
type direction uint8

const (
	either direction = iota
	source
	destination
	both
)

// number32 is an arithmetic expression; it wraps around at 32 bits.
type number32 interface{ place() span }

type (
	constantNumber struct {
		span
		value    uint32
		computed bool
	}
	lengthNumber struct{ span }
	// accessNumber is one, two or four bytes of a packet.
	accessNumber struct {
		span
		name  string // of the protocol
		index number32
		size  uint8
	}
	negativeNumber struct {
		span
		operand number32
	}
	binaryNumber struct {
		span
		operation   operation
		left, right number32
	}
)

func (s span) place() span { return s }

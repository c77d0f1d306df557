package journey

// Packet holds the packet's first bytes, as they were at the probe.
type Packet struct {
	// Proto is skb->protocol in host byte order: an EtherType.
	Proto uint16
	// Len is skb->len: the bytes from skb->data on, which may start at the MAC, network or transport header.
	Len uint32
	// Network is the offset of the network header in Data. Data begins at the MAC header if the skb has one, and else at
	// the network header; then Network is 0.
	Network int
	// VLAN is the tag that the skb carries beside its data (skb->vlan_tci); nil if there is none.
	VLAN *VLAN
	// Data is what was captured. It may go on into paged fragments.
	Data []byte
}

// VLAN is a tag of IEEE 802.1Q or 802.1ad.
type VLAN struct {
	Proto uint16 // 0x8100 or 0x88a8
	TCI   uint16 // priority, drop eligibility and identifier as they are in the tag
}

// ID is the VLAN's number, 0 to 4095; 0 is a tag that carries a priority only.
func (v VLAN) ID() uint16 { return v.TCI & 0xfff }

// Priority is the priority code point, 0 to 7.
func (v VLAN) Priority() uint8 { return uint8(v.TCI >> 13) }

// DropEligible says that the packet may be dropped first.
func (v VLAN) DropEligible() bool { return v.TCI&0x1000 != 0 }

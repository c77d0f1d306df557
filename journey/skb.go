package journey

// Meta is what the kernel keeps about a packet besides its bytes, from struct sk_buff (include/linux/skbuff.h).
type Meta struct {
	// Len is skb->len, and DataLen the part of it that is not in the linear buffer (skb->data_len).
	Len, DataLen uint32
	// Hash is the flow hash (skb->hash); 0 if it has not been computed. L4Hash says that it covers the ports, and SWHash
	// that the kernel computed it and not the device.
	Hash           uint32
	L4Hash, SWHash bool
	// PktType is to whom the packet is addressed: a PACKET_ constant of include/uapi/linux/if_packet.h.
	PktType uint8
	// IPSummed is what is known of the checksum: a CHECKSUM_ constant of include/linux/skbuff.h.
	IPSummed uint8
	// CSum is skb->csum: the sum over the packet if IPSummed is CHECKSUM_COMPLETE; where to put the checksum if it is
	// CHECKSUM_PARTIAL, csum_start and csum_offset; else without meaning.
	CSum uint32
	// CSumLevel is how many checksums were verified beyond the first if IPSummed is CHECKSUM_UNNECESSARY.
	CSumLevel    uint8
	Mark         uint32
	Priority     uint32
	QueueMapping uint16
	// Tstamp is skb->tstamp, in nanoseconds: the time of receipt, or when a packet on its way out is due.
	Tstamp uint64
}

// Sharing is who else holds the skb or its data.
type Sharing struct {
	Users   uint32 // references to the skb (skb->users)
	Cloned  bool   // the data may be shared with a clone (skb->cloned)
	DataRef uint32 // references to the data: the lower half of skb_shared_info.dataref
	NoHdr   bool   // the holder does not modify the headers (skb->nohdr)
	// FClone is where the skb was allocated: a SKB_FCLONE_ constant of include/linux/skbuff.h.
	FClone uint8
}

// GSO is how a packet that is larger than the link allows is to be segmented, and how it lies in memory, from struct
// skb_shared_info.
type GSO struct {
	Size uint16 // bytes of payload of each segment (gso_size)
	Segs uint16 // number of segments (gso_segs); 0 if it was not counted
	// Type is gso_type: SKB_GSO_ bits of include/linux/skbuff.h.
	Type  uint32
	Frags uint8 // fragments of data outside the linear buffer (nr_frags)
}

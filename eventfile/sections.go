package eventfile

import (
	"github.com/waybill-dev/waybill/journey"
)

// line is one line of a file. A section that was read keeps what was made of it, because many events have the same.
type line struct {
	Common   *common   `json:"common,omitempty"`
	Kernel   *kernel   `json:"kernel,omitempty"`
	Tracking *tracking `json:"skb-tracking,omitempty"`
	Drop     *drop     `json:"skb-drop,omitempty"`
	Packet   *packet   `json:"packet,omitempty"`
	SKB      *skb      `json:"skb,omitempty"`
	NetNS    *netns    `json:"netns,omitempty"`
	Device   *device   `json:"dev,omitempty"`
	NFT      *nft      `json:"nft,omitempty"`
	CT       *ct       `json:"ct,omitempty"`
	Startup  *startup  `json:"startup,omitempty"`
	Waybill  *more     `json:"waybill,omitempty"`
}

type common struct {
	Timestamp uint64  `json:"timestamp"`
	CPU       *uint32 `json:"smp_id,omitempty"`
	Task      *task   `json:"task,omitempty"`
}

// task has the kernel's names for its numbers: the thread is pid.
type task struct {
	PID  uint32 `json:"pid"`
	TGID uint32 `json:"tgid"`
	Comm string `json:"comm"`
}

type kernel struct {
	Symbol string   `json:"symbol"`
	Type   string   `json:"probe_type"`
	Stack  []string `json:"stack_trace,omitempty"`
}

type tracking struct {
	Head      uint64 `json:"orig_head"`
	Timestamp uint64 `json:"timestamp"`
	SKB       uint64 `json:"skb"`
}

type drop struct {
	Subsystem string `json:"subsys,omitempty"`
	Reason    string `json:"drop_reason"`
}

type packet struct {
	Len        uint32 `json:"len"`
	CaptureLen uint32 `json:"capture_len"`
	Data       []byte `json:"data"`

	made *journey.Packet // with these:
	by   *more
	skb  *skb
}

type skb struct {
	VLAN    *vlan    `json:"vlan_accel,omitempty"`
	Meta    *meta    `json:"meta,omitempty"`
	Sharing *sharing `json:"data_ref,omitempty"`
	GSO     *gso     `json:"gso,omitempty"`
}

type vlan struct {
	Proto uint16 `json:"proto"`
	PCP   uint8  `json:"pcp"`
	DEI   bool   `json:"dei"`
	VID   uint16 `json:"vid"`
}

type meta struct {
	Len       uint32 `json:"len"`
	DataLen   uint32 `json:"data_len"`
	Hash      uint32 `json:"hash"`
	IPSummed  uint8  `json:"ip_summed"`
	CSum      uint32 `json:"csum"`
	CSumLevel uint8  `json:"csum_level"`
	Priority  uint32 `json:"priority"`
}

type sharing struct {
	NoHdr   bool  `json:"nohdr"`
	Cloned  bool  `json:"cloned"`
	FClone  uint8 `json:"fclone"`
	Users   uint8 `json:"users"`
	DataRef uint8 `json:"dataref"`
}

type gso struct {
	Flags uint8  `json:"flags"`
	Frags uint8  `json:"frags"`
	Size  uint32 `json:"size"`
	Segs  uint32 `json:"segs"`
	Type  uint32 `json:"type"`
}

type netns struct {
	Cookie uint64 `json:"cookie,omitempty"`
	Inum   uint32 `json:"inum"`

	made *journey.NetNS
}

type device struct {
	Name    string `json:"name"`
	Index   uint32 `json:"ifindex"`
	RxIndex uint32 `json:"rx_ifindex,omitempty"`

	made *journey.Device
}

type nft struct {
	Table       string  `json:"table_name"`
	Chain       string  `json:"chain_name"`
	Verdict     string  `json:"verdict"`
	Target      string  `json:"verdict_chain_name,omitempty"`
	TableHandle uint64  `json:"table_handle"`
	ChainHandle uint64  `json:"chain_handle"`
	Rule        *uint64 `json:"rule_handle,omitempty"`
	Policy      bool    `json:"policy"`
}

type startup struct {
	Version string   `json:"retis_version"`
	Command string   `json:"cmdline"`
	Offset  timespec `json:"clock_monotonic_offset"`
	Machine machine  `json:"machine"`
}

type timespec struct {
	Sec  int64 `json:"sec"`
	Nsec int64 `json:"nsec"`
}

type machine struct {
	Release  string `json:"kernel_release"`
	Version  string `json:"kernel_version"`
	Hardware string `json:"hardware_name"`
}

// more is what Retis has no place for.
type more struct {
	Before       []life             `json:"before,omitempty"` // what was observed since the line before
	SocketCookie uint64             `json:"socket_cookie,omitempty"`
	Return       *int64             `json:"return,omitempty"`
	Location     string             `json:"drop_location,omitempty"`
	Len          uint32             `json:"len,omitempty"`      // skb->len, if that is not what the section packet says
	Network      int                `json:"network,omitempty"`  // offset of the network header in the packet's data
	Protocol     uint16             `json:"protocol,omitempty"` // skb->protocol
	Bare         bool               `json:"bare,omitempty"`     // the packet had no header of Ethernet
	Conntrack    *journey.Conntrack `json:"conntrack,omitempty"`
	IPTables     *journey.IPTables  `json:"iptables,omitempty"`
	Version      string             `json:"version,omitempty"`
	NoFunctions  string             `json:"no_functions,omitempty"`
	End          *End               `json:"end,omitempty"`
}

// life is what became of an sk_buff.
type life struct {
	Life         string  `json:"life"`
	Timestamp    uint64  `json:"timestamp"`
	CPU          uint32  `json:"smp_id"`
	Head         uint64  `json:"orig_head"`
	FirstSeen    uint64  `json:"first_seen"`
	SKB          uint64  `json:"skb"`
	Peer         uint64  `json:"peer,omitempty"`
	Link         *link   `json:"link,omitempty"`
	Place        string  `json:"place,omitempty"`
	Shared       bool    `json:"shared,omitempty"`
	SocketCookie uint64  `json:"socket_cookie,omitempty"`
	NetNS        *netns  `json:"netns,omitempty"`
	Device       *device `json:"dev,omitempty"`
}

// link is what the packet is to another one.
type link struct {
	Relation  journey.Relation `json:"relation"`
	Head      uint64           `json:"orig_head"`
	FirstSeen uint64           `json:"timestamp"`
}

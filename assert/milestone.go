package assert

import "github.com/waybill-dev/waybill/journey"

// The milestones: places that every trace observes and every kernel has. See package journey for what each means.
const (
	DeviceReceive  = journey.DeviceReceive
	Bridge         = journey.Bridge
	ARPReceive     = journey.ARPReceive
	IPReceive      = journey.IPReceive
	Prerouting     = journey.Prerouting
	LocalIn        = journey.LocalIn
	ICMPReceive    = journey.ICMPReceive
	TCPReceive     = journey.TCPReceive
	UDPReceive     = journey.UDPReceive
	SocketDeliver  = journey.SocketDeliver
	Forward        = journey.Forward
	LocalOut       = journey.LocalOut
	Postrouting    = journey.Postrouting
	Qdisc          = journey.Qdisc
	DeviceTransmit = journey.DeviceTransmit
)

// constants are the milestones as tests write them.
var constants = map[journey.Milestone]string{
	DeviceReceive: "DeviceReceive", Bridge: "Bridge", ARPReceive: "ARPReceive", IPReceive: "IPReceive",
	Prerouting: "Prerouting", LocalIn: "LocalIn", ICMPReceive: "ICMPReceive", TCPReceive: "TCPReceive",
	UDPReceive: "UDPReceive", SocketDeliver: "SocketDeliver", Forward: "Forward", LocalOut: "LocalOut",
	Postrouting: "Postrouting", Qdisc: "Qdisc", DeviceTransmit: "DeviceTransmit",
}

package packet

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"strings"

	"github.com/gopacket/gopacket"
	"github.com/gopacket/gopacket/layers"
	"golang.org/x/sys/unix"
)

// Flags are those of a TCP segment.
type Flags uint8

// The flags. They can be joined: SYN|ACK.
const (
	FIN Flags = 1 << iota
	SYN
	RST
	PSH
	ACK
	URG
	ECE
	CWR
)

// String prints the flags as SYN|ACK.
func (f Flags) String() string {
	var set []string
	for i, name := range []string{"FIN", "SYN", "RST", "PSH", "ACK", "URG", "ECE", "CWR"} {
		if f&(1<<i) != 0 {
			set = append(set, name)
		}
	}
	return strings.Join(set, "|")
}

// TCP is a single segment, made by hand and sent by a raw socket, so that the sending kernel has no connection for it: it
// answers a SYN|ACK with RST. For a connection use [Dial].
type TCP struct {
	// To is the destination.
	To Host
	// DstPort is the destination port; it must be given.
	DstPort uint16
	// Flags are the segment's flags; [Dial] takes none.
	Flags Flags
	// Src is the source address, which the sending namespace must own; nil for the one the kernel chooses.
	Src Host
	// SrcPort is the source port; 0 for a free one.
	SrcPort uint16
	// Seq and Ack are the sequence and acknowledgment numbers, and Window the window; a zero Window is 64240.
	Seq, Ack uint32
	Window   uint16
	// Payload is the segment's data. It may be empty.
	Payload []byte
	// Options are about the packet's IP header and how it leaves.
	Options Options
}

func (t TCP) validate() error {
	if t.DstPort == 0 {
		return errors.New("send TCP: DstPort is 0: give the destination port, 1 to 65535")
	}
	if t.Flags == 0 {
		return errors.New("send TCP: Flags is 0: give those of the segment, such as packet.SYN, or use Dial for a connection")
	}
	return validateRaw("TCP", t.To, t.Src)
}

func (t TCP) open(sent *Sent) error {
	sent.name, sent.Len = "TCP "+t.Flags.String(), len(t.Payload)
	if err := openRaw(sent, t.To, t.Src, unix.IPPROTO_TCP, t.Options); err != nil {
		return err
	}
	sent.Remote = netip.AddrPortFrom(sent.Remote.Addr(), t.DstPort)
	if sent.Err == nil {
		return t.choosePort(sent)
	}
	return nil // there is no way, so there is no source either
}

// choosePort completes the source.
func (t TCP) choosePort(sent *Sent) error {
	port := t.SrcPort
	if port == 0 {
		// A socket that does nothing but keep the port from others.
		var err error
		if sent.port, err = openSocket(family(sent.Local.Addr()), unix.SOCK_STREAM, 0); err != nil {
			return fmt.Errorf("send TCP: %w", err)
		}
		if err := unix.Bind(sent.port.fd, sockaddr(sent.Local)); err != nil {
			return fmt.Errorf("send TCP: take a source port: %w", err)
		}
		local, err := localAddr(sent.port.fd)
		if err != nil {
			return fmt.Errorf("send TCP: %w", err)
		}
		port = local.Port()
	}
	sent.Local = netip.AddrPortFrom(sent.Local.Addr(), port)
	return nil
}

func (t TCP) send(sent *Sent) error {
	window := t.Window
	if window == 0 {
		window = 64240
	}
	segment := &layers.TCP{
		SrcPort: layers.TCPPort(sent.Local.Port()), DstPort: layers.TCPPort(t.DstPort),
		Seq: t.Seq, Ack: t.Ack, Window: window,
		FIN: t.Flags&FIN != 0, SYN: t.Flags&SYN != 0, RST: t.Flags&RST != 0, PSH: t.Flags&PSH != 0,
		ACK: t.Flags&ACK != 0, URG: t.Flags&URG != 0, ECE: t.Flags&ECE != 0, CWR: t.Flags&CWR != 0,
	}
	if t.Flags&SYN != 0 {
		// As every kernel sends it: without, the other side assumes 536 bytes.
		segment.Options = []layers.TCPOption{{OptionType: layers.TCPOptionKindMSS, OptionLength: 4, OptionData: []byte{0x05, 0xb4}}}
	}
	data, err := serialize(true, pseudoHeader(sent.Local.Addr(), sent.Remote.Addr(), layers.IPProtocolTCP), segment,
		gopacket.Payload(t.Payload))
	if err != nil {
		return fmt.Errorf("build segment: %w", err)
	}
	return sendRaw(sent, data)
}

// pseudoHeader is the network layer that a checksum covers.
func pseudoHeader(src, dst netip.Addr, proto layers.IPProtocol) gopacket.NetworkLayer {
	if src.Is4() {
		return &layers.IPv4{SrcIP: net.IP(src.AsSlice()), DstIP: net.IP(dst.AsSlice()), Protocol: proto}
	}
	return &layers.IPv6{SrcIP: net.IP(src.AsSlice()), DstIP: net.IP(dst.AsSlice()), NextHeader: proto}
}

// serialize builds the bytes of layers. If fix is set, lengths and checksums are computed, the latter over the network
// layer given, or over the last one in the layers.
func serialize(fix bool, network gopacket.NetworkLayer, all ...gopacket.SerializableLayer) ([]byte, error) {
	for _, layer := range all {
		if next, ok := layer.(gopacket.NetworkLayer); ok {
			network = next
		}
		covered, ok := layer.(interface {
			SetNetworkLayerForChecksum(gopacket.NetworkLayer) error
		})
		if fix && ok && network != nil {
			if err := covered.SetNetworkLayerForChecksum(network); err != nil {
				return nil, err
			}
		}
	}
	buffer := gopacket.NewSerializeBuffer()
	options := gopacket.SerializeOptions{FixLengths: fix, ComputeChecksums: fix}
	ethernet, framed := all[0].(*layers.Ethernet)
	if !framed {
		err := gopacket.SerializeLayers(buffer, options, all...)
		return buffer.Bytes(), err
	}
	if err := gopacket.SerializeLayers(buffer, options, all[1:]...); err != nil {
		return nil, err
	}
	length := 14 + len(buffer.Bytes())
	if err := ethernet.SerializeTo(buffer, options); err != nil {
		return nil, err
	}
	// It fills the frame up to 60 bytes, which the kernel's own frames are not.
	return buffer.Bytes()[:length], nil
}

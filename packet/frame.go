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

// Frame is an Ethernet frame, given as bytes or as layers, and sent from a device as it is, past everything above the
// device. It needs CAP_NET_RAW.
//
//	packet.Frame{Device: "eth0", To: router, Layers: []gopacket.SerializableLayer{
//		&layers.IPv4{DstIP: server.Addr().AsSlice(), TTL: 1},
//		&layers.UDP{SrcPort: 4000, DstPort: 53},
//	}}
type Frame struct {
	// Device is the name of the device that it leaves by, such as eth0.
	Device string
	// To is the node on the device's cable, or behind a bridge, that the frame goes to: the Ethernet header gets its address, and
	// the device's own as the source. Nil leaves the header as it is given.
	To Station
	// Data is the whole frame, from the Ethernet header on.
	Data []byte
	// Layers are the frame's layers instead. The first is Ethernet, or if To is given, what follows it. Lengths and checksums
	// follow from the others, unless Exactly is set; if To is given, so does what is zero in the headers of IP, its extensions
	// and VLANs: version, protocols, a TTL of 64, the device's address as the source, and To's as the destination.
	Layers []gopacket.SerializableLayer
	// Exactly sends what the layers have, right or wrong.
	Exactly bool
	// Spoil gets the bytes when everything is right, and returns those that are sent: with a wrong checksum, a bit that is
	// reserved, or cut short.
	Spoil func(frame []byte) []byte
	// Mark and Priority are as in [Options].
	Mark, Priority uint32
}

// Station is a host whose Ethernet address is known. A *topology.Node is one.
type Station interface {
	Host
	// MACIn is the Ethernet address of the host's device that has an address in the subnet; nil if none has.
	MACIn(subnet netip.Prefix) net.HardwareAddr
}

func (f Frame) validate() error {
	switch {
	case f.Device == "":
		return errors.New("send frame: Device is empty: give the name of the device, such as eth0")
	case len(f.Data) > 0 && len(f.Layers) > 0:
		return errors.New("send frame: both Data and Layers are given: give one")
	case f.To != nil && f.Exactly:
		return errors.New("send frame: both To and Exactly are given: " +
			"give an Ethernet layer instead of To, or Spoil instead of Exactly")
	case f.To != nil:
		return nil // the rest is known inside the namespace only
	}
	_, err := f.bytes(nil)
	return err
}

// bytes builds the frame; the device is nil if To is.
func (f Frame) bytes(device *net.Interface) (data []byte, err error) {
	data = append(data, f.Data...)
	if len(f.Layers) > 0 {
		all := f.Layers
		if device != nil {
			if all, err = f.complete(device); err != nil {
				return nil, fmt.Errorf("send frame: %w", err)
			}
		}
		if data, err = serialize(!f.Exactly, nil, all...); err != nil {
			return nil, fmt.Errorf("send frame: build it from its layers: %w", err)
		}
	} else if device != nil && len(data) >= 14 {
		to, err := f.station(device)
		if err != nil {
			return nil, fmt.Errorf("send frame: %w", err)
		}
		copy(data, to)
		copy(data[6:], device.HardwareAddr)
	}
	if f.Spoil != nil {
		data = f.Spoil(data)
	}
	if len(data) < 14 {
		return nil, fmt.Errorf("send frame: it has %d bytes: an Ethernet header alone has 14", len(data))
	}
	return data, nil
}

func (f Frame) open(sent *Sent) error {
	device, err := openFrame(sent, f.Device, Options{Mark: f.Mark, Priority: f.Priority})
	if err != nil {
		return err
	}
	if f.To == nil {
		device = nil
	}
	if sent.data, err = f.bytes(device); err != nil {
		return err
	}
	sent.Len = len(sent.data)
	sent.text = fmt.Sprintf("frame on %s: %s, len %d", f.Device, strings.Join(frameText(sent.data), ", "), sent.Len)
	return nil
}

func (f Frame) send(sent *Sent) error { return sendFrame(sent, f.Device, sent.data) }

// station is the Ethernet address that the frame goes to.
func (f Frame) station(device *net.Interface) (net.HardwareAddr, error) {
	subnets, err := subnetsOf(device)
	if err != nil {
		return nil, err
	}
	for _, subnet := range subnets {
		if mac := f.To.MACIn(subnet); mac != nil {
			return mac, nil
		}
	}
	return nil, fmt.Errorf("%v, To, has no address on a subnet of %s: give a node on its cable, or an Ethernet layer",
		f.To, device.Name)
}

// complete puts what follows from the device, from To and from the layers themselves into copies of the layers.
func (f Frame) complete(device *net.Interface) ([]gopacket.SerializableLayer, error) {
	to, err := f.station(device)
	if err != nil {
		return nil, err
	}
	subnets, err := subnetsOf(device)
	if err != nil {
		return nil, err
	}
	all := []gopacket.SerializableLayer{&layers.Ethernet{SrcMAC: device.HardwareAddr, DstMAC: to}}
	if _, framed := f.Layers[0].(*layers.Ethernet); framed {
		return nil, errors.New("both To and an Ethernet layer are given: give one")
	}
	for i := range f.Layers {
		all = append(all, f.completed(i, subnets))
	}
	kind, ok := etherTypes[f.Layers[0].LayerType()]
	if !ok {
		return nil, fmt.Errorf("nobody knows the EtherType of %s: begin Layers with Ethernet, and leave To out",
			f.Layers[0].LayerType())
	}
	all[0].(*layers.Ethernet).EthernetType = kind
	return all, nil
}

// openFrame opens a packet socket that sends by a device and receives nothing: protocol 0 (packet_create,
// net/packet/af_packet.c).
func openFrame(sent *Sent, name string, options Options) (*net.Interface, error) {
	device, err := net.InterfaceByName(name)
	if err != nil {
		return nil, fmt.Errorf("send frame: find device %s: %w", name, err)
	}
	if sent.socket, err = openSocket(unix.AF_PACKET, unix.SOCK_RAW, 0); err != nil {
		return nil, fmt.Errorf("send frame: %w", err)
	}
	fd := sent.socket.fd
	if sent.Cookie, err = unix.GetsockoptUint64(fd, unix.SOL_SOCKET, unix.SO_COOKIE); err != nil {
		return nil, fmt.Errorf("send frame: read socket cookie: %w", err)
	}
	if err := options.apply(fd, unix.AF_PACKET); err != nil {
		return nil, fmt.Errorf("send frame: %w", err)
	}
	if err := unix.Bind(fd, &unix.SockaddrLinklayer{Ifindex: device.Index}); err != nil {
		return nil, fmt.Errorf("send frame: bind to %s: %w", name, err)
	}
	return device, nil
}

func sendFrame(sent *Sent, device string, data []byte) error {
	err := sent.socket.write(data)
	if errors.Is(err, unix.EMSGSIZE) {
		err = fmt.Errorf("%w: the frame of %d bytes is larger than the device's MTU and an Ethernet header", err, len(data))
	}
	if err != nil {
		return fmt.Errorf("send on %s: %w", device, err)
	}
	return nil
}

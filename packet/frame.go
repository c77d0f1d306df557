package packet

import (
	"errors"
	"fmt"
	"net"
	"net/netip"

	"github.com/gopacket/gopacket"
	"github.com/gopacket/gopacket/layers"
	"golang.org/x/sys/unix"
)

// Frame is an Ethernet frame, given as bytes or as layers, and sent from a device as it is, past everything above the
// device. It needs CAP_NET_RAW.
type Frame struct {
	// Device is the name of the device that it leaves by, such as eth0.
	Device string
	// Data is the whole frame, from the Ethernet header on.
	Data []byte
	// Layers are the frame's layers instead, the first of which is Ethernet. Lengths and checksums are computed, unless
	// Exactly is set.
	Layers []gopacket.SerializableLayer
	// Exactly sends lengths and checksums as the layers have them.
	Exactly bool
	// Mark and Priority are as in [Options].
	Mark, Priority uint32
}

func (f Frame) validate() error {
	switch {
	case f.Device == "":
		return errors.New("send frame: Device is empty: give the name of the device, such as eth0")
	case len(f.Data) > 0 && len(f.Layers) > 0:
		return errors.New("send frame: both Data and Layers are given: give one")
	}
	data, err := f.bytes()
	if err != nil {
		return fmt.Errorf("send frame: build it from its layers: %w", err)
	}
	if len(data) < 14 {
		return fmt.Errorf("send frame: it has %d bytes: an Ethernet header alone has 14", len(data))
	}
	return nil
}

func (f Frame) bytes() ([]byte, error) {
	if len(f.Layers) == 0 {
		return f.Data, nil
	}
	return serialize(!f.Exactly, nil, f.Layers...)
}

func (f Frame) open(sent *Sent) error {
	data, err := f.bytes()
	if err != nil {
		return fmt.Errorf("send frame: %w", err)
	}
	sent.Len = len(data)
	sent.text = fmt.Sprintf("frame on %s: %s > %s type 0x%02x%02x len %d", f.Device, net.HardwareAddr(data[6:12]),
		net.HardwareAddr(data[:6]), data[12], data[13], len(data))
	_, err = openFrame(sent, f.Device, Options{Mark: f.Mark, Priority: f.Priority})
	return err
}

func (f Frame) send(sent *Sent) error {
	data, err := f.bytes()
	if err != nil {
		return err
	}
	return sendFrame(sent, f.Device, data)
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
	if err := sent.socket.write(data); err != nil {
		return fmt.Errorf("send on %s: %w", device, err)
	}
	return nil
}

// ARP is an ARP request, or a reply.
type ARP struct {
	// Device is the name of the device that it leaves by, such as eth0.
	Device string
	// To is the IPv4 address that is asked for; of a reply, the address of who is told.
	To Host
	// Reply makes it a reply: it tells that Src is at the device's Ethernet address, or at MAC.
	Reply bool
	// Src is the IPv4 address of the sender; nil for the device's first one. The same as To makes it a gratuitous ARP.
	Src Host
	// MAC is the Ethernet address that is told; nil for that of the device.
	MAC net.HardwareAddr
	// DstMAC is where the frame goes; nil for the broadcast address.
	DstMAC net.HardwareAddr
}

func (a ARP) validate() error {
	if a.Device == "" {
		return errors.New("send ARP: Device is empty: give the name of the device, such as eth0")
	}
	for _, host := range []struct {
		name string
		host Host
	}{{"To", a.To}, {"Src", a.Src}} {
		if host.name == "Src" && host.host == nil {
			continue
		}
		addr, err := address(host.name, host.host)
		if err != nil {
			return fmt.Errorf("send ARP: %w", err)
		}
		if !addr.Is4() {
			return fmt.Errorf("send ARP: %s is %s: ARP is for IPv4 only", host.name, addr)
		}
	}
	for _, mac := range []net.HardwareAddr{a.MAC, a.DstMAC} {
		if mac != nil && len(mac) != 6 {
			return fmt.Errorf("send ARP: %s is no Ethernet address: it must have 6 bytes", mac)
		}
	}
	return nil
}

func (a ARP) open(sent *Sent) error {
	device, err := openFrame(sent, a.Device, Options{})
	if err != nil {
		return err
	}
	from, err := a.source(device)
	if err != nil {
		return fmt.Errorf("send ARP: %w", err)
	}
	to := a.To.Addr().Unmap()
	mac, destination, target := a.MAC, a.DstMAC, make(net.HardwareAddr, 6)
	if mac == nil {
		mac = device.HardwareAddr
	}
	if destination == nil {
		destination = layers.EthernetBroadcast
	} else if a.Reply {
		target = destination
	}
	operation := uint16(layers.ARPRequest)
	sent.text = fmt.Sprintf("ARP on %s: who has %s, tell %s", a.Device, to, from)
	if a.Reply {
		operation = layers.ARPReply
		sent.text = fmt.Sprintf("ARP on %s: %s is at %s", a.Device, from, mac)
	}
	data, err := serialize(true, nil,
		&layers.Ethernet{SrcMAC: device.HardwareAddr, DstMAC: destination, EthernetType: layers.EthernetTypeARP},
		&layers.ARP{
			AddrType: layers.LinkTypeEthernet, Protocol: layers.EthernetTypeIPv4, HwAddressSize: 6, ProtAddressSize: 4,
			Operation: operation, SourceHwAddress: mac, SourceProtAddress: from.AsSlice(),
			DstHwAddress: target, DstProtAddress: to.AsSlice(),
		})
	if err != nil {
		return fmt.Errorf("send ARP: build it: %w", err)
	}
	sent.data, sent.Len = data, len(data)
	return nil
}

func (a ARP) send(sent *Sent) error { return sendFrame(sent, a.Device, sent.data) }

// source is the sender's address.
func (a ARP) source(device *net.Interface) (netip.Addr, error) {
	if a.Src != nil {
		return a.Src.Addr().Unmap(), nil
	}
	addrs, err := device.Addrs()
	if err != nil {
		return netip.Addr{}, fmt.Errorf("read the addresses of %s: %w", a.Device, err)
	}
	for _, addr := range addrs {
		if prefix, err := netip.ParsePrefix(addr.String()); err == nil && prefix.Addr().Is4() {
			return prefix.Addr(), nil
		}
	}
	return netip.Addr{}, fmt.Errorf("%s has no IPv4 address: give Src", a.Device)
}

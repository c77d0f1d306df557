package packet

import (
	"errors"
	"fmt"
	"net"
	"net/netip"

	"github.com/gopacket/gopacket/layers"
)

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
	subnets, err := subnetsOf(device)
	if err != nil {
		return netip.Addr{}, err
	}
	for _, subnet := range subnets {
		if subnet.Addr().Is4() {
			return subnet.Addr(), nil
		}
	}
	return netip.Addr{}, fmt.Errorf("%s has no IPv4 address: give Src", a.Device)
}

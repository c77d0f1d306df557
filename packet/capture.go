package packet

import (
	"bufio"
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"os"

	"github.com/gopacket/gopacket"
	"github.com/gopacket/gopacket/layers"
	"github.com/gopacket/gopacket/pcapgo"
)

// ReadCapture makes packets of those in a pcap or pcapng file, in their order. Each is the frame that is given, with its Data from
// the file: the frame's Device says where they leave, and its To whom they go to instead of the stations that were captured.
//
//	frames, err := packet.ReadCapture("testdata/query.pcap", packet.Frame{Device: "eth0", To: router})
//
// Captures of Ethernet and of bare IP packets are understood; the latter need a To. What was captured in part is an error.
func ReadCapture(file string, frame Frame) (packets []Packet, err error) {
	if len(frame.Data) > 0 || len(frame.Layers) > 0 {
		return nil, fmt.Errorf("read capture %s: the frame has Data or Layers: leave them out, the file gives them", file)
	}
	f, err := os.Open(file)
	if err != nil {
		return nil, fmt.Errorf("read capture: %w", err)
	}
	defer func() { _ = f.Close() }()
	source, err := openCapture(f)
	if err != nil {
		return nil, fmt.Errorf("read capture %s: it is neither pcap nor pcapng: %w", file, err)
	}
	for err == nil {
		var data []byte
		if data, err = nextFrame(source, frame.To != nil); err == nil {
			frame.Data = data
			packets = append(packets, frame)
		}
	}
	if errors.Is(err, io.ErrUnexpectedEOF) {
		err = errors.New("the file ends in the middle of it")
	}
	if !errors.Is(err, io.EOF) {
		return nil, fmt.Errorf("read capture %s: packet %d: %w", file, len(packets)+1, err)
	}
	if len(packets) == 0 {
		return nil, fmt.Errorf("read capture %s: it has no packets", file)
	}
	return packets, nil
}

// capture is a file of packets.
type capture interface {
	ReadPacketData() ([]byte, gopacket.CaptureInfo, error)
	LinkType() layers.LinkType
}

// openCapture tells the two formats apart by their first four bytes.
func openCapture(r io.Reader) (capture, error) {
	buffered := bufio.NewReader(r)
	magic, err := buffered.Peek(4)
	if err != nil {
		return nil, err
	}
	if bytes.Equal(magic, []byte{0x0a, 0x0d, 0x0d, 0x0a}) {
		// Interfaces of different kinds may be in one file; the kind of each packet's is told with it.
		return pcapgo.NewNgReader(buffered, pcapgo.NgReaderOptions{WantMixedLinkType: true})
	}
	return pcapgo.NewReader(buffered)
}

// nextFrame reads a packet as an Ethernet frame.
func nextFrame(source capture, addressed bool) ([]byte, error) {
	data, info, err := source.ReadPacketData()
	if errors.Is(err, io.EOF) && info.CaptureLength > 0 { // there was a packet's header
		err = io.ErrUnexpectedEOF
	}
	if err != nil {
		return nil, err
	}
	if len(data) < info.Length {
		return nil, fmt.Errorf("it was captured in part, %d of %d bytes: capture all of it, as tcpdump -s 0 does",
			len(data), info.Length)
	}
	link := source.LinkType()
	if len(info.AncillaryData) > 0 {
		if of, ok := info.AncillaryData[0].(layers.LinkType); ok {
			link = of
		}
	}
	switch link {
	case layers.LinkTypeEthernet:
		if len(data) < 14 {
			return nil, fmt.Errorf("it has %d bytes: an Ethernet header alone has 14", len(data))
		}
		return data, nil
	case layers.LinkTypeRaw, layers.LinkTypeIPv4, layers.LinkTypeIPv6, linkTypeRawBSD:
		if !addressed {
			return nil, errors.New("it has no Ethernet header: give the frame a To")
		}
		return framed(data)
	}
	return nil, fmt.Errorf("it was captured on a link of type %s: only Ethernet and bare IP are understood", link)
}

// linkTypeRawBSD is what some systems write for bare IP packets (DLT_RAW).
const linkTypeRawBSD layers.LinkType = 12

// framed puts an Ethernet header without addresses before an IP packet.
func framed(data []byte) ([]byte, error) {
	if len(data) == 0 {
		return nil, errors.New("it is empty")
	}
	kind := layers.EthernetTypeIPv4
	if data[0]>>4 == 6 {
		kind = layers.EthernetTypeIPv6
	}
	return append(binary.BigEndian.AppendUint16(make([]byte, 12, 14+len(data)), uint16(kind)), data...), nil
}

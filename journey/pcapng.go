package journey

import (
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/gopacket/gopacket"
	"github.com/gopacket/gopacket/layers"
	"github.com/gopacket/gopacket/pcapgo"
)

// WritePcapng writes what a node saw as a capture file, for Wireshark and its kin: each packet at the devices that gave it to
// the stack or were given it, and where it was dropped; and a packet that came to none of these, where it was seen first. Each
// frame has a comment that says which journey it belongs to, where this was, and what became of the packet in the end.
//
// Frames are as long as what was captured of them. boot is the time of day at which CLOCK_MONOTONIC was zero. It returns how many
// frames there were.
func (r *Record) WritePcapng(w io.Writer, node Place, boot time.Time) (int, error) {
	c := &capture{node: node, boot: boot, interfaces: make(map[captureInterface]int)}
	for _, j := range r.Journeys {
		c.add(j)
	}
	if len(c.frames) == 0 {
		return 0, nil
	}
	first := c.frames[0].on.ng()
	out, err := pcapgo.NewNgWriterInterface(w, first, pcapgo.NgWriterOptions{
		SectionInfo: pcapgo.NgSectionInfo{Application: "waybill", Comment: "node " + node.String()},
	})
	if err != nil {
		return 0, fmt.Errorf("write a capture of %s: %w", node, err)
	}
	c.interfaces[c.frames[0].on] = 0
	for _, f := range c.frames {
		if err := c.write(out, f); err != nil {
			return 0, fmt.Errorf("write a capture of %s: %w", node, err)
		}
	}
	if err := out.Flush(); err != nil {
		return 0, fmt.Errorf("write a capture of %s: %w", node, err)
	}
	return len(c.frames), nil
}

// capture is a file of packets that is being put together.
type capture struct {
	node       Place
	boot       time.Time
	frames     []capturedFrame
	interfaces map[captureInterface]int
}

// captureInterface is a device, or that there is none, with one kind of frames.
type captureInterface struct {
	name string
	link layers.LinkType
}

func (i captureInterface) ng() pcapgo.NgInterface {
	return pcapgo.NgInterface{Name: i.name, LinkType: i.link, OS: "Linux", SnapLength: 0}
}

// capturedFrame is one packet in one place.
type capturedFrame struct {
	journey   *Journey
	event     int
	on        captureInterface
	length    int
	direction pcapgo.NgEpbFlag
}

// add takes the frames of a journey.
func (c *capture) add(j *Journey) {
	first := -1
	before := len(c.frames)
	received, transmitted := c.visits(j, DeviceReceive), c.visits(j, DeviceTransmit)
	for i := range j.Events {
		e := &j.Events[i]
		if e.Packet == nil || len(e.Packet.Data) == 0 || e.NetNS == nil || e.NetNS.Cookie != c.node.NetNSCookie() {
			continue
		}
		switch {
		case received[i]:
			// The stack gets it without its MAC header.
			c.append(j, i, int(e.Packet.Len)+e.Packet.Network, pcapgo.NgEpbFlagDirectionInbound)
		case transmitted[i]:
			c.append(j, i, int(e.Packet.Len), pcapgo.NgEpbFlagDirectionOutbound)
		case e.Drop != nil:
			c.append(j, i, int(e.Packet.Len), pcapgo.NgEpbFlagDirectionUnknown)
		case first < 0:
			first = i
		}
	}
	if len(c.frames) == before && first >= 0 {
		c.append(j, first, int(j.Events[first].Packet.Len), pcapgo.NgEpbFlagDirectionUnknown)
	}
}

func (c *capture) visits(j *Journey, m Milestone) map[int]bool {
	events := make(map[int]bool)
	for _, v := range j.Visits(m) {
		events[v.Event] = true
	}
	return events
}

func (c *capture) append(j *Journey, event, length int, direction pcapgo.NgEpbFlag) {
	e := &j.Events[event]
	f := capturedFrame{journey: j, event: event, length: max(length, len(e.Packet.Data)), direction: direction}
	f.on.link = layers.LinkTypeRaw
	if e.Packet.Network > 0 {
		f.on.link = layers.LinkTypeEthernet
	}
	if e.Device != nil {
		f.on.name = e.Device.String()
	}
	c.frames = append(c.frames, f)
}

func (c *capture) write(out *pcapgo.NgWriter, f capturedFrame) error {
	index, ok := c.interfaces[f.on]
	if !ok {
		var err error
		if index, err = out.AddInterface(f.on.ng()); err != nil {
			return err
		}
		c.interfaces[f.on] = index
	}
	e := &f.journey.Events[f.event]
	return out.WritePacketWithOptions(gopacket.CaptureInfo{
		Timestamp:      c.boot.Add(time.Duration(e.Time)),
		CaptureLength:  len(e.Packet.Data),
		Length:         f.length,
		InterfaceIndex: index,
	}, e.Packet.Data, pcapgo.NgPacketOptions{
		Comments: []string{f.comment()},
		Flags:    &pcapgo.NgEpbFlags{Direction: f.direction},
	})
}

// comment says where this is on the packet's way.
func (f capturedFrame) comment() string {
	e := &f.journey.Events[f.event]
	lines := []string{fmt.Sprintf("#%s n %d at %s", e.ID, f.event, e.Probe.Name)}
	if note := f.journey.CopyNote(f.event); note != "" {
		lines[0] += " [" + note + "]"
	}
	if e.Drop != nil {
		lines = append(lines, e.Drop.line())
	}
	return strings.Join(append(lines, "The packet was "+f.journey.Sentence()+"."), "\n")
}

package journey

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/go-quicktest/qt"
	"github.com/gopacket/gopacket/layers"
	"github.com/gopacket/gopacket/pcapgo"

	"github.com/waybill-dev/waybill/internal/golden"
)

// somewhere is a place of which the cookie is known.
type somewhere struct {
	name   string
	cookie uint64
}

func (s somewhere) NetNSCookie() uint64 { return s.cookie }
func (s somewhere) String() string      { return s.name }

// TestPcapng writes captures of all nodes that a recorded packet came by, and reads them back.
func TestPcapng(t *testing.T) {
	text, err := os.ReadFile("../assert/testdata/journeys/translated.json")
	qt.Assert(t, qt.IsNil(err))
	var j Journey
	qt.Assert(t, qt.IsNil(json.Unmarshal(text, &j)))
	r := &Record{Journeys: []*Journey{&j}, Evidence: j.Evidence}
	boot := time.Unix(1700000000, 0)

	var all strings.Builder
	for cookie, name := range j.Evidence.Nodes {
		var file bytes.Buffer
		n, err := r.WritePcapng(&file, somewhere{name, cookie}, boot)
		qt.Assert(t, qt.IsNil(err))
		listing := listCapture(t, &file, boot)
		qt.Check(t, qt.Equals(strings.Count(listing, "\n  frame"), n))
		if name == "fw" {
			all.WriteString(listing)
		}
	}
	golden.Check(t, "capture.txt", all.String())

	var file bytes.Buffer
	n, err := r.WritePcapng(&file, somewhere{"elsewhere", 99}, boot)
	qt.Check(t, qt.IsNil(err))
	qt.Check(t, qt.Equals(n+file.Len(), 0))
	for cookie, name := range j.Evidence.Nodes {
		_, err = r.WritePcapng(full{}, somewhere{name, cookie}, boot)
		qt.Check(t, qt.ErrorIs(err, errFull))
	}
}

var errFull = errors.New("no space")

type full struct{}

func (full) Write([]byte) (int, error) { return 0, errFull }

// listCapture is what a reader of the file sees.
func listCapture(t *testing.T, file io.Reader, boot time.Time) string {
	t.Helper()
	in, err := pcapgo.NewNgReader(file, pcapgo.NgReaderOptions{WantMixedLinkType: true})
	qt.Assert(t, qt.IsNil(err))
	var b strings.Builder
	for {
		data, info, options, err := in.ReadPacketDataWithOptions()
		if errors.Is(err, io.EOF) {
			return b.String()
		}
		qt.Assert(t, qt.IsNil(err))
		device, err := in.Interface(info.InterfaceIndex)
		qt.Assert(t, qt.IsNil(err))
		if b.Len() == 0 {
			fmt.Fprintf(&b, "%s\n", in.SectionInfo().Comment)
		}
		direction := map[pcapgo.NgEpbFlag]string{
			pcapgo.NgEpbFlagDirectionInbound: "in", pcapgo.NgEpbFlagDirectionOutbound: "out", pcapgo.NgEpbFlagDirectionUnknown: "?",
		}[options.Flags.Direction]
		fmt.Fprintf(&b, "  frame on %q (%v) %s, %d of %d bytes, at %v\n", device.Name, device.LinkType, direction, len(data),
			info.Length, info.Timestamp.Sub(boot))
		start := 0
		if device.LinkType == layers.LinkTypeEthernet {
			start = 14
		}
		p := Packet{Proto: 0x0800, Network: start, Len: uint32(info.Length), Data: data}
		fmt.Fprintf(&b, "    %s\n", p.Flow())
		for _, comment := range options.Comments {
			for line := range strings.SplitSeq(comment, "\n") {
				fmt.Fprintf(&b, "    # %s\n", line)
			}
		}
	}
}

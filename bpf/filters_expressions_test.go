package bpf

import (
	"bytes"
	_ "embed"
	"encoding/hex"
	"net"
	"slices"
	"strings"
	"testing"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/btf"
	"github.com/go-quicktest/qt"
	"golang.org/x/sys/unix"

	"github.com/waybill-dev/waybill/bpf/filter"
)

var (
	//go:embed filter/testdata/expressions.txt
	expressionLines string
	//go:embed filter/testdata/frames.txt
	frameLines string
)

// TestFilterExpressions has frames of all kinds sent by a tracker for each expression, and compares those that it follows with
// those that the evaluator admits, which is compared with tcpdump elsewhere. Of the tracker's programs that ask filters it loads
// only those by which these frames come; all of them would take seconds for each expression.
func TestFilterExpressions(t *testing.T) {
	needRoot(t)
	every := 5
	if tier, _, err := chooseTier(AnyTier, btf.NewCache()); err == nil && tier == Functions {
		every = 120 // under emulation
	}
	var frames [][]byte
	for line := range strings.Lines(frameLines) {
		frame, err := hex.DecodeString(strings.TrimSpace(line))
		qt.Assert(t, qt.IsNil(err))
		frames = append(frames, frame)
	}
	n, tried, followed := 0, 0, 0
	for line := range strings.Lines(expressionLines) {
		line = strings.TrimSpace(line)
		if line == "" || line[0] == '#' {
			continue
		}
		if n++; n%every != 0 {
			continue
		}
		f, err := filter.CompilePacket(line)
		if err != nil {
			continue // what tcpdump takes and we do not is in doc.go
		}
		var want []string
		for _, frame := range frames {
			if f.Match(filter.View{Data: frame, Link: filter.Ethernet}) == filter.Match {
				want = append(want, hex.EncodeToString(frame))
			}
		}
		got := followedFrames(t, line, frames)
		tried++
		followed += len(got)
		qt.Check(t, qt.DeepEquals(got, want), qt.Commentf("%s", line))
	}
	t.Logf("%d expressions, %d frames, followed %d times", tried, len(frames), followed)
	qt.Check(t, qt.IsTrue(tried*10 > n/every*9), qt.Commentf("%d of %d", tried, n/every))
	qt.Check(t, qt.IsTrue(followed > tried && followed < tried*len(frames)/2))
}

// followedFrames lists those of the frames that a tracker with that filter follows, in hexadecimal digits.
func followedFrames(t *testing.T, expression string, frames [][]byte) (followed []string) {
	t.Helper()
	needed := []string{trackerProgDevQueueXmit, "at_net_dev_queue", "at_net_dev_start_xmit", trackerProgAtNetifReceiveSkb}
	const observing = "entry_arg0" // loaded when it is armed
	tracker, err := Open(Options{PacketFilter: expression, functions: fentry.name, trim: func(spec *ebpf.CollectionSpec) {
		for name, program := range spec.Programs {
			if strings.HasPrefix(name, observing) {
				continue
			}
			asks := slices.Contains(program.Instructions.FunctionReferences(), "filter_packet")
			if asks && !slices.Contains(needed, strings.TrimSuffix(name, again)) {
				delete(spec.Programs, name)
			}
		}
	}})
	qt.Assert(t, qt.IsNil(err))
	defer func() { qt.Check(t, qt.IsNil(tracker.Close())) }()
	h := newHost(t)
	scope, err := watch(tracker, h.sink, h.Cookie())
	qt.Assert(t, qt.IsNil(err))
	qt.Assert(t, qt.IsNil(scope.Arm([]string{"tp:net:net_dev_queue"})))
	before := begin(t, scope)
	qt.Assert(t, qt.IsNil(h.Do(func() error { return sendFrames(frames) })))
	for _, o := range h.events(t, tracker) {
		if o.Packet == nil {
			continue
		}
		for _, frame := range frames { // what the kernel answers is none of them
			if int(o.Packet.Len) == len(frame) && bytes.HasPrefix(frame, o.Packet.Data) {
				followed = append(followed, hex.EncodeToString(frame))
			}
		}
	}
	qt.Check(t, qt.HasLen(losses(t, scope, before), 0))
	return followed
}

// sendFrames sends frames on the loopback device.
func sendFrames(frames [][]byte) error {
	lo, err := net.InterfaceByName("lo")
	if err != nil {
		return err
	}
	fd, err := unix.Socket(unix.AF_PACKET, unix.SOCK_RAW|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return err
	}
	defer func() { _ = unix.Close(fd) }()
	for _, frame := range frames {
		if err := unix.Sendto(fd, frame, 0, &unix.SockaddrLinklayer{Ifindex: lo.Index}); err != nil {
			return err
		}
	}
	return nil
}

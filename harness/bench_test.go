package harness_test

import (
	"errors"
	"testing"

	"github.com/go-quicktest/qt"
	"golang.org/x/sys/unix"

	"github.com/waybill-dev/waybill/bpf"
	"github.com/waybill-dev/waybill/harness"
	"github.com/waybill-dev/waybill/packet"
	"github.com/waybill-dev/waybill/topology"
)

// BenchmarkDatagram is the cost of one datagram over a cable to a socket that nobody reads until it is full, and then to
// its drop: without any tracker, beside a tracker that watches other namespaces, in a lab, and in a trace of all
// milestones. Only the ratios mean something.
func BenchmarkDatagram(b *testing.B) {
	b.Run("no tracker", func(b *testing.B) {
		qt.Assert(b, qt.IsNil(harness.Shutdown()))
		flood(b, false)
	})
	if err := harness.Open(b.Context()); errors.Is(err, bpf.ErrNoFunctionProbes) {
		b.Skipf("make bench runs the rest in a VM: %v", err)
	}
	b.Run("out of scope", func(b *testing.B) { flood(b, false) })
	b.Run("in a lab", func(b *testing.B) { flood(b, true) })
	b.Run("in a trace", func(b *testing.B) { flood(b, true, harness.TraceOptions{}) })
}

func flood(b *testing.B, inLab bool, traces ...harness.TraceOptions) {
	p := newPair()
	var in packet.In
	if inLab {
		lab := harness.New(b, &p.net)
		in = func(f func() error) error { lab.Do(p.client, f); return nil }
		for _, options := range traces {
			trace := lab.Trace(b.Context(), options)
			defer func() {
				record := trace.Seal(b.Context())
				if err := record.Evidence().Incomplete(); err != nil {
					b.Log(err)
				}
				b.ReportMetric(float64(len(record.All()))/float64(b.N), "journeys/op")
			}()
		}
	} else {
		running, err := topology.Up(b.Context(), &p.net)
		qt.Assert(b, qt.IsNil(err))
		defer func() { qt.Check(b, qt.IsNil(running.Close())) }()
		in = running.In(p.client)
	}
	var fd int
	qt.Assert(b, qt.IsNil(in(func() (err error) {
		fd, err = unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
		return err
	})))
	defer unix.Close(fd)
	to := &unix.SockaddrInet4{Port: 7, Addr: p.server.Addr().As4()}
	qt.Assert(b, qt.IsNil(unix.Sendto(fd, []byte("first"), 0, to))) // the neighbour is known after this
	for b.Loop() {
		_ = unix.Sendto(fd, []byte("abc"), 0, to) // ECONNREFUSED now and then, which is the answer
	}
}

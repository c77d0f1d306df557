package filter

import (
	"fmt"
	"testing"

	"github.com/go-quicktest/qt"
)

// BenchmarkCompile measures how long it takes to compile an expression.
func BenchmarkCompile(b *testing.B) {
	for name, e := range map[string]string{"short": "tcp port 80 and host 10.0.0.1", "hosts=1000": manyHosts(1000)} {
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				_, err := CompilePacket(e)
				qt.Assert(b, qt.IsNil(err))
			}
		})
	}
}

// BenchmarkMatch measures the evaluator.
func BenchmarkMatch(b *testing.B) {
	m := newPacketMaker(3)
	v := View{Data: m.frameOf(m.over4(0)), Link: Ethernet}
	for _, e := range []string{"udp port 8080", "host 10.0.0.1 and tcp port 443"} {
		f := mustCompile(b, e)
		b.Run(fmt.Sprintf("%q", e), func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				f.Match(v)
			}
		})
	}
}

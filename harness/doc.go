// Package harness runs a network under observation: a [Lab] is a running topology with the tracker on it.
//
// A test declares a network, makes a lab of it, and then, as often as it likes, begins a trace, sends packets, and seals
// the trace into a record. Assertions are made on records only:
//
//	lab := harness.New(t, &net)
//	trace := lab.Trace(ctx)                                             // armed and marked when it returns
//	sent := lab.Send(ctx, client, packet.UDP{To: server, DstPort: 8080}) // by a real socket
//	record := trace.Seal(ctx)                                           // settled, drained, immutable
//	g.Expect(record.Of(sent)).To(assert.BeDropped())
//
// It works with Ginkgo (New(GinkgoTB(), &net)), with testing.T, and outside of tests with [Run]. A method that cannot do
// what it was asked to ends the test with one sentence that says why.
//
// All labs of a process share one tracker and one canary: a namespace of the harness's own, in which a packet is sent
// and seen before every trace, and which holds the switch that makes nftables report its verdicts.
package harness

// Package packet describes packets, sends them and receives them.
//
// A packet is described by a value: [UDP], [TCP] for a segment made by hand, [Echo], [IPPacket], [Frame] or [ARP]. [Send] makes it,
// in a network namespace of the caller's choice, and returns a [Sent] by which an observer can recognise it: the cookie of the
// sending socket, and when it was sent. [SendBurst] sends many, at a rate, and [ReadCapture] makes packets of a file.
//
//	in := func(f func() error) error { return running.Do(client, f) }
//	sent, err := packet.Send(ctx, in, packet.UDP{To: server, DstPort: 8080, Payload: []byte("hey")})
//	if err != nil {
//		return err
//	}
//	defer sent.Close()
//
// What the kernel says to the sender, such as "operation not permitted" when an output rule drops the packet, is part of
// what is being tested. Send does not fail for that; it is in [Sent.Err].
//
// [Dial] and [ListenTCP] make TCP connections of ordinary sockets.
//
// [ListenUDP] opens a socket that receives datagrams, and [OpenTap] one that copies frames as a packet analyser does. All sockets
// are opened inside the namespace and used from any goroutine.
package packet
